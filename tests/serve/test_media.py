"""Files by identity: whole, in parts, only while they are what was indexed."""

from __future__ import annotations

import email
import os
import shutil

import av
import pytest
from media import make_video
from serving import answering, served

from tvrkit.serve.media import content_type
from tvrkit.serve.ranges import Span, read_ranges
from tvrkit.serve.refusal import Refusal


@pytest.fixture
def file(client, identity, built):
    """Address and content of a video."""
    return f"/api/videos/{identity('c.webm')}/file", (built.clips / "sub" / "deep" / "c.webm").read_bytes()


def test_whole(client, file, identity):
    address, content = file
    answer = client.get(address)
    assert answer.status_code == 200 and answer.content == content
    assert answer.headers["content-type"] == "video/webm"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == f'"{identity("c.webm")}"'
    head = client.head(address)
    assert head.status_code == 200 and head.content == b""
    assert head.headers["content-length"] == str(len(content))


@pytest.mark.parametrize(
    ("wanted", "part"),
    [("bytes=0-0", slice(0, 1)), ("bytes=5-9", slice(5, 10)), ("bytes=100-", slice(100, None)),
     ("bytes=-7", slice(-7, None)),
     ("bytes=10-99999999", slice(10, None)), ("bytes=-99999999", slice(0, None)), ("BYTES= 3-4", slice(3, 5))],
)  # fmt: skip
def test_one_part(client, file, wanted, part):
    address, content = file
    answer = client.get(address, headers={"Range": wanted})
    expected = content[part]
    assert answer.status_code == 206 and answer.content == expected
    start = content.index(expected) if len(expected) > 4 else part.start
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{len(content)}"
    assert answer.headers["content-length"] == str(len(expected))


def test_several_parts(client, file):
    address, content = file
    answer = client.get(address, headers={"Range": "bytes=10-19, 0-4,-3"})
    assert answer.status_code == 206
    assert len(answer.content) == int(answer.headers["content-length"])
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + answer.content).get_payload()
    assert [part["content-range"] for part in parts] == [
        f"bytes {start}-{end - 1}/{len(content)}" for start, end in ((10, 20), (0, 5), (len(content) - 3, len(content)))
    ]
    assert content[10:20] in answer.content and content[:5] in answer.content


@pytest.mark.parametrize(
    "wanted", ["bytes=99999999-", "bytes=9-5", "bytes=", "bytes=-", "bytes=a-b", "bytes=-0", "bytes=1",
               "bytes=--1", "bytes=0x1-2",
               "bytes=1-2-3", "bytes=1-2,x", "bytes=" + "9" * 30 + "-"]
)  # fmt: skip
def test_no_such_part(client, file, wanted):
    address, content = file
    answer = client.get(address, headers={"Range": wanted})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(content)}"
    assert "range" in answer.json()["error"]


def test_ranges_that_are_passed_over():
    assert read_ranges(None, 10) is None
    assert read_ranges("lines=1-2", 10) is None
    assert read_ranges("bytes=" + ",".join(["0-0"] * 9), 10) is None  # many
    assert read_ranges("bytes=0-5,3-7", 10) is None  # the same bytes twice
    assert read_ranges("bytes=0-1,20-30", 10) == [Span(0, 2)]
    with pytest.raises(Refusal):
        read_ranges("bytes=20-30", 10)


def test_conditions(client, file):
    address, content = file
    whole = client.get(address)
    tag, modified = whole.headers["etag"], whole.headers["last-modified"]

    def status(**headers):
        return client.get(
            address, headers={name.replace("_", "-"): value for name, value in headers.items()}
        ).status_code

    assert status(If_None_Match=tag) == status(If_None_Match=f'"x", W/{tag}') == status(If_None_Match="*") == 304
    assert status(If_None_Match='"x"') == 200
    assert status(If_Modified_Since=modified) == 304
    assert status(If_None_Match='"x"', If_Modified_Since=modified) == 200
    assert status(Range="bytes=0-1", If_Range=tag) == status(Range="bytes=0-1", If_Range=modified) == 206
    assert (
        status(Range="bytes=0-1", If_Range='"other"')
        == status(Range="bytes=0-1", If_Range="Mon, 01 Jan 2001 00:00:00 GMT")
        == 200
    )


@pytest.mark.parametrize(
    ("head", "name", "kind"),
    [(b"\0\0\0\x18ftypisom", "x.avi", "video/mp4"), (b"\0\0\0\x14ftypqt  ", "x.mp4", "video/quicktime"),
     (b"\x1a\x45\xdf\xa3...webm", "x.mkv", "video/webm"), (b"\x1a\x45\xdf\xa3..matroska", "x.webm", "video/matroska"),
     (b"RIFF", "X.AVI", "video/x-msvideo"), (b"<html><script>", "x.html", "application/octet-stream"),
     (b"<html><script>", "x.mp4", "application/octet-stream"), (b"", "x", "application/octet-stream")],
)  # fmt: skip
def test_types_are_never_what_a_browser_runs(head, name, kind):
    assert content_type(head, name) == kind


def test_files_that_are_no_longer_those_that_were_indexed(own_world, tmp_path):
    with served(own_world, tmp_path / "cache") as service, answering(service) as client:
        of_path = {path: video for video, facts in service.snapshot.facts.items() for path in facts.paths}
        clips = own_world.clips

        def status(name, what="file"):
            answer = client.get(f"/api/videos/{of_path[str(clips / name)]}/{what}")
            assert answer.status_code == 200 or "tvrkit index" in answer.json()["error"]
            return answer.status_code

        (clips / "d.mov").unlink()
        assert status("d.mov") == status("d.mov", "thumbnail") == status("d.mov", "clip?start=0&end=1") == 410
        with (clips / "sub" / "b.mkv").open("ab") as file:
            file.write(b"more")
        assert status("sub/b.mkv") == 410
        os.utime(clips / "sub" / "deep" / "c.webm", (1, 1))
        assert status("sub/deep/c.webm") == 410
        # The copy of it is still there, and takes its place.
        (clips / "a.mp4").unlink()
        assert status("a.mp4") == 200
        # Something else under the old name is never sent.
        (clips / "sub" / "copy of a.mp4").unlink()
        (clips / "sub" / "copy of a.mp4").symlink_to("/etc/hostname")
        assert status("a.mp4") == 410
        (clips / "sub" / "copy of a.mp4").unlink()
        os.mkfifo(clips / "sub" / "copy of a.mp4")
        assert status("a.mp4") == 410


def test_the_index_is_followed_while_questions_are_answered(own_world, tmp_path):
    """Adds, moves and deletes are seen; no question fails meanwhile."""
    with served(own_world, tmp_path / "cache") as service, answering(service) as client:

        def paths():
            answer = client.post("/api/search", json={"query": "a dog", "top": 50})
            assert answer.status_code == 200
            return {path for hit in answer.json()["hits"] for path in (hit["path"], *hit["other_paths"])}

        before = paths()
        clips = own_world.clips
        make_video(clips / "new.mp4", num_frames=20, noise=80)
        shutil.move(clips / "d.mov", clips / "moved.mov")
        (clips / "sub" / "b.mkv").unlink()
        own_world.update()
        expected = before - {str(clips / "d.mov"), str(clips / "sub" / "b.mkv")}
        expected |= {str(clips / "new.mp4"), str(clips / "moved.mov")}
        for _ in range(100):
            if paths() == expected:
                break
            service.worker._look_at = 0.0  # not to wait a second for it
        assert paths() == expected
        assert client.get("/api/status").json()["videos"] == len(service.snapshot.facts)


def test_previews_play_everywhere(client, identity, tmp_path):
    address = f"/api/videos/{identity('b.mkv')}/clip"
    answer = client.get(address, params={"start": 0.25, "end": 1.25})
    assert answer.status_code == 200 and answer.headers["content-type"] == "video/mp4"
    (tmp_path / "clip.mp4").write_bytes(answer.content)
    with av.open(str(tmp_path / "clip.mp4")) as clip:
        stream = clip.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert 0.8 <= sum(1 for _ in clip.decode(stream)) / 10 <= 1.2  # 10 frames a second
    assert client.get(address, params={"start": 0.25, "end": 1.25}).content == answer.content
    assert client.get(address, params={"start": 0.25, "end": 1.25}, headers={"Range": "bytes=0-9"}).status_code == 206
    for start, end in ((1, 1), (2, 1), (0, 61), (-1, 1), ("nan", 1), (100, 101)):
        assert client.get(address, params={"start": start, "end": end}).status_code == 422
