"""`tvrkit shell`, from a pipe and at a terminal."""

from __future__ import annotations

import io
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from media import numbered_frame
from PIL import Image
from support import Result, clean_environment

from tvrkit.cli import main

Shell = Callable[..., Result]


@pytest.fixture
def shell(search_world, clips: Path, tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command in this process with lines from a pipe; the clips are indexed first."""
    monkeypatch.chdir(tmp_path)

    def run(*lines: str | bytes, options: tuple[str, ...] = ("--videos", "clips")) -> Result:
        text = b"".join(
            (line.encode("utf-8", "surrogateescape") if isinstance(line, str) else line) + b"\n" for line in lines
        )
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["shell", "--model", str(search_world.model), "--workers", "0", *options])
        out, err = capfd.readouterr()
        assert "Traceback" not in err and "tvrkit>" not in out + err
        return Result(stop.value.code or 0, out, err)

    return run


def hits_of(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_questions_from_a_pipe(shell: Shell, query) -> None:
    result = shell("a dog", "", "  a cat  ", ":quit", "a horse")
    assert result.code == 0 and result.stdout.count("Rank ") == 2
    assert len(re.findall(r"^\d+\.\d{3} s: 4 moments of 4 videos", result.stderr, re.M)) == 2
    asked = query("a cat").stdout
    assert asked.strip() and result.stdout.endswith(asked)


def test_settings_last_until_they_are_changed(shell: Shell) -> None:
    lines = (
        ":json on",
        "a dog",
        ":top 1",
        "a dog",
        ":top 9",
        ":in clips/sub",
        "a dog",
        ":in",
        "a dog",
        ":avoid a cat",
        "a dog",
    )
    result = shell(*lines, ":avoid", "a dog", ":json off", "a dog")
    hits = hits_of(result)
    firsts = [i for i, hit in enumerate(hits) if hit["rank"] == 1] + [len(hits)]
    answers = [hits[a:b] for a, b in zip(firsts[:-1], firsts[1:], strict=True)]
    assert [len(answer) for answer in answers] == [4, 1, 2, 4, 4, 4]
    assert all(Path(hit["path"]).parent.name in ("sub", "deep") for hit in answers[2])
    assert answers[0] == answers[3] == answers[5] != answers[4]
    assert result.stdout.count("Rank ") == 1


def test_pictures_videos_and_what_follows_on_them(shell: Shell, clips: Path, tmp_path: Path) -> None:
    Image.fromarray(numbered_frame(3)).save(tmp_path / "a picture.png")
    shutil.copyfile(clips / "d.mov", tmp_path / "d.mov")
    result = shell(
        ":json on",
        ":like d.mov",
        ":image a picture.png",
        ':image "a picture.png"',
        "a dog",
        ":explain 2",
        ":cut 3 my cuts",
    )
    hits = hits_of(result)
    assert result.code == 0 and [hit["rank"] for hit in hits] == [1, 2, 3, *([1, 2, 3, 4] * 3), 2]
    assert "d.mov" not in {Path(hit["path"]).name for hit in hits[:3]}
    assert hits[-1]["explanation"]["words"] == ["a", "dog"] and hits[-1]["video"] == hits[-4]["video"]
    (cut,) = (tmp_path / "my cuts").iterdir()
    assert cut.name.startswith("03-1-")


def test_errors_are_sentences_and_it_goes_on(shell: Shell, clips: Path) -> None:
    (clips / "broken.mp4").write_bytes(b"x")
    wrong = [
        (":explain 1", "ask something first"),
        (":nonsense", "there is no command :nonsense"),
        (":top many", ":top needs a number"),
        (":top 0", ":top needs a number"),
        (":json maybe", "say `:json on`"),
        (":like nowhere.mp4", "there is no video nowhere.mp4"),
        (":like clips/broken.mp4", "broken.mp4: "),
        (":image", "the name of one file or folder is wanted"),
        (':in "clips', "a quote is not closed"),
        (":image clips/a.mp4", "a.mp4"),
    ]
    result = shell(
        *(line for line, _ in wrong), "a dog", ":explain 9", ":cut 1", ":in nowhere", "a dog", ":in", b"\xff \xfe"
    )
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    for error, (line, words) in zip(errors, wrong, strict=False):
        assert words in error, line
    later = ("the rank of a hit, 1 to 4", ":cut needs a hit and a folder", "nothing in the index lies in")
    for error, words in zip(errors[len(wrong) :], later, strict=True):
        assert words in error
    assert result.code == 1 and result.stdout.count("Rank ") == 2


def test_help_names_every_command(shell: Shell) -> None:
    told = shell(":help").stderr
    for name in ("like", "image", "avoid", "in", "top", "explain", "cut", "open", "json", "refresh", "help", "quit"):
        assert f":{name}" in told


@pytest.mark.slow
def test_an_index_that_changes_meanwhile(shell: Shell, query, clips: Path, tmp_path: Path, monkeypatch) -> None:
    """Another process adds a video while the shell waits: it is found, with no command."""
    from tvrkit.cli.shell_commands import Shell as Lines

    do = Lines.do

    def with_another(self: Lines, line: str) -> bool:
        if line == "add":
            (tmp_path / "new").mkdir()
            with (clips / "d.mov").open("rb") as file:
                (tmp_path / "new" / "e.mov").write_bytes(file.read() + b"\0" * 8)
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "tvrkit",
                    "query",
                    "x",
                    "--videos",
                    "new",
                    "--model",
                    self._session.opened.source,
                ],
                cwd=tmp_path,
                env=clean_environment(tmp_path, TVRKIT_CACHE=str(tmp_path / "cache")),
                capture_output=True,
                check=True,
            )
            return True
        return do(self, line)

    monkeypatch.setattr(Lines, "do", with_another)
    result = shell("a dog", ":refresh", "add", "a dog", ":refresh")
    assert re.findall(r"moments of (\d) videos", result.stderr) == ["4", "5"]
    assert result.stderr.count("The index has changed") == 1 and result.stderr.count("has not changed") == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_at_a_terminal(clips: Path, search_world, tmp_path: Path) -> None:
    """A prompt, Ctrl-C that clears the line, a history, Ctrl-D that ends it."""
    import pty

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tvrkit", "shell", "--videos", "clips", "--model", str(search_world.model)],
        cwd=tmp_path,
        env=clean_environment(tmp_path, TVRKIT_CACHE=str(tmp_path / "cache"), TERM="dumb"),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(follower)
    seen = ""

    def until(words: str, count: int = 1) -> None:
        nonlocal seen
        deadline = time.monotonic() + 300
        while seen.count(words) < count:
            assert time.monotonic() < deadline, seen
            if select.select([leader], [], [], 1.0)[0]:
                seen += os.read(leader, 65536).decode("utf-8", "replace")

    with process:
        until("tvrkit> ")
        os.write(leader, b"half a questi")
        until("half a questi")
        os.write(leader, b"\x03")
        until("tvrkit> ", 2)
        os.write(leader, b"a dog\n")
        until(" s: 4 moments of 4 videos")
        until("tvrkit> ", 3)
        os.write(leader, b":nonsense\n")
        until("Error: there is no command")
        until("tvrkit> ", 4)
        os.write(leader, b"\x04")
        assert process.wait(120) == 0
    os.close(leader)
    assert "Traceback" not in seen
    history = tmp_path / "cache" / "shell_history"
    if history.exists():  # where Python has readline
        assert "a dog" in history.read_text().splitlines() and history.stat().st_mode & 0o077 == 0


def _take_terminal() -> None:
    """Make stdin the terminal that Ctrl-C comes from."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
