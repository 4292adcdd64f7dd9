"""`prepare_benchmark` with archives and a real server: unpacked once, downloaded once."""

from __future__ import annotations

import json
import shutil
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from small_msvd import TEST, TRAIN, VAL, put, write_lists

from tvrkit.errors import DataError
from tvrkit.prepare.downloads.assets import Asset


def test_archives_given_by_hand(prepare_named, clip, tmp_path):
    """Unpacked among the downloads, never into the user's own folder; annotations may come in them."""
    inside = put(clip, tmp_path / "inside/YouTubeClips", *(f"{name}.avi" for name in (*TRAIN, *VAL, *TEST)))
    write_lists(tmp_path / "inside/lists")
    given = tmp_path / "given"
    given.mkdir()
    with tarfile.open(given / "YouTubeClips.tar", "w") as archive:
        archive.add(inside, "YouTubeClips")
    shutil.make_archive(str(given / "msvd_data"), "zip", tmp_path / "inside/lists")
    before = {path: path.stat().st_mtime_ns for path in given.rglob("*")}
    report, records, _ = prepare_named(videos=(given,))
    assert len(records) == 6 and not report.problems
    assert before == {path: path.stat().st_mtime_ns for path in given.rglob("*")}
    unpacked = tmp_path / "data/downloads/msvd/unpacked"
    assert all(Path(record.path).is_relative_to(unpacked) for record in records.values())
    assert prepare_named(videos=(given,))[0].new == 0
    (unpacked / "YouTubeClips.tar/YouTubeClips/a_0_5.avi").unlink()
    assert not prepare_named(videos=(given,))[0].problems  # unpacked again
    # An archive by its own name.
    report, records, _ = prepare_named(
        name="again", videos=(given / "YouTubeClips.tar",), annotations=(tmp_path / "inside",)
    )
    assert len(records) == 6


@pytest.fixture
def served(tmp_path):
    """A folder on a real server; gives its address and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()
    thread.join()


def serve_msvd(folder: Path, clip: Path) -> None:
    videos = put(clip, folder.parent / "to_pack", *(f"{name}.avi" for name in (*TRAIN, *VAL, *TEST)))
    with tarfile.open(folder / "YouTubeClips.tar", "w") as archive:
        archive.add(videos, "YouTubeClips")
    lists = write_lists(folder.parent / "to_serve")
    for name in ("train", "val", "test"):
        shutil.copy(lists / f"{name}_list.txt", folder)
    captions = json.loads((lists / "captions_msvd.json").read_text())
    lines = [f"{video_id} {caption}" for video_id, its in captions.items() for caption in its]
    (folder / "AllVideoDescriptions.txt").write_text("# MSVD\n\n" + "\n".join(lines) + "\n")
    shutil.make_archive(str(folder / "msvd_data"), "zip", lists)


def test_downloads(prepare_named, clip, served, tmp_path):
    address, folder = served
    serve_msvd(folder, clip)
    report, records, _ = prepare_named(mirror=address)
    assert len(records) == 6 and not report.problems
    downloads = tmp_path / "data/downloads/msvd"
    assert (downloads / "YouTubeClips.tar").is_file() and (downloads / "unpacked").is_dir()
    for path in folder.iterdir():
        path.unlink()  # what is there is not asked for again
    assert prepare_named(mirror=address)[0].new == 0


def test_a_part_that_cannot_be_had(prepare_named, clip, served, tmp_path):
    """What came is used, and what did not is named; where nothing came it is one sentence."""
    address, folder = served
    serve_msvd(folder, clip)
    lists = [Asset(path.name, "annotations", (f"{address}/{path.name}",)) for path in sorted(folder.glob("*.txt"))]
    videos = Asset("YouTubeClips.tar", "videos", (f"{address}/YouTubeClips.tar",))
    gone = Asset("more.tar", "videos", (f"{address}/more.tar", f"{address}/again/more.tar"))
    with pytest.raises(DataError, match=r"MSVD could not be downloaded: there is no more\.tar to be had") as error:
        prepare_named(assets=(*lists, gone))
    assert "404" in str(error.value) and str(error.value).count("127.0.0.1") == 1
    assert "run `tvrkit prepare msvd --from VIDEOS`" in str(error.value)
    report, records, _ = prepare_named(assets=(*lists, videos, gone))
    assert len(records) == 6 and report.problem_counts() == {"not downloaded": 1}
    assert report.problems[0].where == "more.tar" and "404" in report.problems[0].reason
    (folder / "train_list.txt").unlink()
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(
        DataError, match=r"there is no train_list\.txt to be had .*videos \(YouTubeClips\.tar, more\.tar"
    ):
        prepare_named(assets=(*lists, videos, gone))
    assert not (tmp_path / "data/downloads/msvd/YouTubeClips.tar").exists()
    extra = Asset("extra.zip", "annotations", (f"{address}/extra.zip",), optional=True)
    (folder / "train_list.txt").write_text("\n".join(TRAIN))
    assert not prepare_named(assets=(*lists, extra, videos))[0].problems
