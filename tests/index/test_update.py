"""An index follows its folders: new, changed, moved, copied, deleted files; drives that are away; failures."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from indexing import assert_same, make_moments, meta_of, open_new, rows_of
from limits import file_size_limit
from media import make_audio, make_black

import tvrkit.index.update as update_module
from tvrkit.core import RetrievalModel
from tvrkit.encode.moments import VideoMoments, iter_moments
from tvrkit.errors import DataError, StoreError, VideoError
from tvrkit.frames.identity import content_hash
from tvrkit.frames.reading import Reading
from tvrkit.index.segments import SegmentIndex
from tvrkit.index.tally import tally
from tvrkit.index.update import Plan, encode, plan, prune

HERE = Reading(workers=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files that need only be files."""
    for name in ("a.mp4", "b.mp4", "sub/c.mp4"):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / name).write_bytes(name.encode() * 100)
    return tmp_path / "v"


@pytest.fixture
def index(tmp_path: Path):
    with open_new(tmp_path / "index") as opened:
        yield opened


def settle(index: SegmentIndex, planned: Plan) -> None:
    """Encode without a model."""
    index.put({identity: make_moments(len(identity)) for identity in planned.todo})


def look(index: SegmentIndex, folder: Path, **options: object) -> dict[str, list[str]]:
    planned = plan(index, [str(folder)], **options)  # type: ignore[arg-type]
    settle(index, planned)
    found = {
        name: [os.path.relpath(p, folder) for p in getattr(planned, name)]
        for name in ("new", "moved", "changed", "same", "gone")
    }
    found["todo"] = [os.path.relpath(row.path, folder) for row in planned.todo.values()]
    return {name: paths for name, paths in found.items() if paths}


def test_new_changed_moved_copied_deleted(index: SegmentIndex, folder: Path) -> None:
    everything = ["a.mp4", "b.mp4", "sub/c.mp4"]
    assert look(index, folder) == {"new": everything, "todo": everything}
    assert look(index, folder) == {"same": everything}
    (folder / "a.mp4").rename(folder / "sub" / "a2.mp4")
    shutil.copy(folder / "b.mp4", folder / "copy.mp4")
    (folder / "sub/c.mp4").write_bytes(b"other")
    assert look(index, folder) == {
        "new": ["copy.mp4", "sub/a2.mp4"],
        "moved": ["sub/a2.mp4"],
        "changed": ["sub/c.mp4"],
        "same": ["b.mp4"],
        "gone": ["a.mp4"],
        "todo": ["sub/c.mp4"],
    }
    (folder / "b.mp4").unlink()
    (folder / "copy.mp4").unlink()
    assert look(index, folder) == {"same": ["sub/a2.mp4", "sub/c.mp4"], "gone": ["b.mp4", "copy.mp4"]}
    # Deleted files are out of every answer, and their features wait for them until they are pruned.
    assert len(index.engine().facts()) == 2 and index.status().without_file == 2
    (folder / "again.mp4").write_bytes(b"b.mp4" * 100)
    assert look(index, folder)["new"] == ["again.mp4"]
    assert prune(index) == 1 and index.status().without_file == 0


def test_what_has_not_changed_is_not_opened(index: SegmentIndex, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(update_module, "content_hash", lambda path: hashed.append(path) or content_hash(path))
    look(index, folder)
    assert len(hashed) == 3
    before = index.generation()
    look(index, folder)
    assert len(hashed) == 3 and index.generation() == before  # and nothing is written
    (folder / "b.mp4").touch()
    assert look(index, folder) == {"same": ["a.mp4", "b.mp4", "sub/c.mp4"]}
    assert hashed[3:] == [str(folder / "b.mp4")]
    look(index, folder)
    assert len(hashed) == 4


def test_other_places_are_left_alone(index: SegmentIndex, folder: Path) -> None:
    look(index, folder)
    (folder / "a.mp4").unlink()
    (folder / "sub/c.mp4").unlink()
    (folder / "sub/d.mp4").write_bytes(b"d")
    assert look(index, folder / "sub") == {"new": ["d.mp4"], "gone": ["c.mp4"], "todo": ["d.mp4"]}
    assert [row.path for row in index.files()] == [str(folder / n) for n in ("a.mp4", "b.mp4", "sub/d.mp4")]


def test_a_drive_that_is_away_forgets_nothing(index: SegmentIndex, folder: Path) -> None:
    look(index, folder)
    away = folder.rename(folder.with_name("away"))
    with pytest.raises(DataError, match=r"is not there, and 3 videos .* not mounted\?.*--prune"):
        plan(index, [str(folder)])
    folder.mkdir()  # the empty folder that it is mounted on
    with pytest.raises(DataError, match=r"holds no video, and 3 videos"):
        plan(index, [str(folder)])
    assert len(index.files()) == 3
    folder.rmdir()
    away.rename(folder)
    assert look(index, folder) == {"same": ["a.mp4", "b.mp4", "sub/c.mp4"]}
    shutil.rmtree(folder)
    assert len(look(index, folder, emptied=True)["gone"]) == 3 and index.files() == []
    with pytest.raises(DataError, match="there is no folder or file"):
        plan(index, [str(folder)])
    folder.mkdir()
    with pytest.raises(DataError, match=r"no video lies in .*\.mp4"):
        plan(index, [str(folder)])


def test_a_folder_that_cannot_be_entered_loses_nothing(
    index: SegmentIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(index, folder)
    scandir = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("sub"):
            raise OSError(5, "Input/output error", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert look(index, folder) == {"same": ["a.mp4", "b.mp4", "sub/c.mp4"]}
    assert len(index.files()) == 3


def test_shards_part_the_paths(tmp_path: Path, folder: Path) -> None:
    for i in range(40):
        (folder / f"{i}.mp4").write_bytes(str(i).encode())
    seen: list[str] = []
    for i in (1, 2, 3):
        with open_new(tmp_path / str(i)) as index:
            part = look(index, folder, only=(i, 3))["new"]
            assert len(part) > 5 and look(index, folder, only=(i, 3)) == {"same": part}
            seen += part
    assert len(seen) == 43 == len(set(seen))


def test_hashes_are_kept_while_they_are_computed(
    index: SegmentIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: str) -> str:
        if path.endswith("c.mp4"):
            raise KeyboardInterrupt
        return content_hash(path)

    monkeypatch.setattr(update_module, "content_hash", stopped)
    with pytest.raises(KeyboardInterrupt):
        plan(index, [str(folder)])
    assert [Path(row.path).name for row in index.files()] == ["a.mp4", "b.mp4"]


@pytest.fixture
def real(clips: Path, tmp_path: Path) -> Path:
    shutil.copytree(clips, tmp_path / "clips")
    return tmp_path / "clips"


@pytest.fixture
def real_index(model: RetrievalModel, tmp_path: Path):
    with open_new(tmp_path / "index", meta_of(model)) as opened:
        yield opened


def fill(index: SegmentIndex, model: RetrievalModel, folder: Path) -> list[tuple[int, int]]:
    said: list[tuple[int, int]] = []
    encode(index, model, plan(index, [str(folder)]), reading=HERE, on_progress=lambda *counts: said.append(counts))
    return said


def test_features_are_those_of_the_model(model: RetrievalModel, real: Path, real_index: SegmentIndex) -> None:
    assert fill(real_index, model, real)[-1] == (4, 0)
    paths = [row.path for row in real_index.files()]
    direct = dict(zip(map(content_hash, paths), iter_moments(model, paths, reading=HERE), strict=True))
    assert all(isinstance(video, VideoMoments) for video in direct.values())
    assert_same(rows_of(real_index), direct)  # type: ignore[arg-type]
    assert fill(real_index, model, real) == []


def test_failures_are_kept_with_their_reasons(model: RetrievalModel, real: Path, real_index: SegmentIndex) -> None:
    (real / "garbage.mp4").write_bytes(b"garbage" * 1000)
    (real / "empty.mp4").write_bytes(b"")
    (real / "dangling.mp4").symlink_to("nowhere")
    make_audio(real / "sound.mp4")
    make_black(real / "black.mp4")
    counts = fill(real_index, model, real)[-1]
    assert counts == (8, 3)
    status = real_index.status()
    assert {Path(path).name for path in status.failures} == {"garbage.mp4", "empty.mp4", "sound.mp4", "dangling.mp4"}
    assert all(status.failures.values())
    whole = tally(real_index.files(), real_index)
    assert (whole.files, whole.ok, whole.failed, whole.blank, whole.pending) == (9, 4, 4, 1, 0)
    assert fill(real_index, model, real) == []  # not tried again
    real_index.forget(real_index.failures(), failures_only=True)
    assert fill(real_index, model, real)[-1] == (3, 3)


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    model: RetrievalModel, real: Path, real_index: SegmentIndex, caplog: pytest.LogCaptureFixture
) -> None:
    planned = plan(real_index, [str(real)])
    shutil.copy(real / "d.mov", real / "a.mp4")
    (real / "sub/b.mkv").unlink()
    encode(real_index, model, planned, reading=HERE)
    assert "a.mp4 was changed while it was read" in caplog.text
    assert len(real_index.identities()) == 2 and real_index.failures() == {}
    assert fill(real_index, model, real) == []  # what is left has the contents of others


def test_what_another_process_has_done_is_left_out(
    model: RetrievalModel, real: Path, real_index: SegmentIndex, tmp_path: Path
) -> None:
    planned = plan(real_index, [str(real)])
    with SegmentIndex(str(tmp_path / "index")) as other:
        other.put({identity: make_moments(1, dim=other.meta.dim) for identity in planned.todo})
    said: list[tuple[int, int]] = []
    encode(real_index, model, planned, reading=HERE, on_progress=lambda *counts: said.append(counts))
    assert said == [(4, 0)]
    assert_same(rows_of(real_index), {identity: make_moments(1, dim=32) for identity in planned.todo})


def test_what_ends_encoding_loses_nothing_that_was_done(
    model: RetrievalModel, real: Path, real_index: SegmentIndex
) -> None:
    def stop(done: int, failed: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(real_index, model, plan(real_index, [str(real)]), reading=HERE, on_progress=stop)
    assert len(real_index.identities()) == 3
    assert fill(real_index, model, real)[-1] == (1, 0)


def test_what_comes_fast_is_kept_together_but_soon(
    model: RetrievalModel, real: Path, real_index: SegmentIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts: list[int] = []
    put, now = real_index.put, [1000.0]
    monkeypatch.setattr(update_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(real_index, "put", lambda videos: puts.append(len(videos)) or put(videos))

    def answers(model: object, paths: object, **settings: object):
        for i, _ in enumerate(paths):  # type: ignore[call-overload]
            now[0] += 0.3 if i == 3 else 0.01
            yield make_moments(i, dim=model.backbone.dim) if i else VideoError("x", "bad")  # type: ignore[attr-defined]

    monkeypatch.setattr("tvrkit.index.encoding.iter_anywhere", answers)
    fill(real_index, model, real)
    assert puts == [3] and len(real_index.failures()) == 1


def test_a_full_disk_is_a_sentence_and_the_index_is_whole(
    model: RetrievalModel, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update_module, "_COMMIT_SECONDS", 0.0)
    with open_new(tmp_path / "index", meta_of(model)) as index:
        planned = plan(index, [str(real)])
        done = []

        def fill_up(count: int, failed: int) -> None:
            done.append(set(index.identities()))
            if count == 2:
                raise _Full

        with pytest.raises(_Full):
            encode(index, model, planned, reading=HERE, on_progress=fill_up)
        with file_size_limit(1000), pytest.raises(StoreError, match="cannot write to the index"):
            encode(index, model, planned, reading=HERE)
        assert set(index.identities()) == done[-1] and len(done[-1]) == 2
    with SegmentIndex(str(tmp_path / "index")) as index:
        fill(index, model, real)
        assert len(index.identities()) == 4


class _Full(Exception):
    pass
