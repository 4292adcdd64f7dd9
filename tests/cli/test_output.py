"""Words to stderr, data to stdout, and nothing in them that commands a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support import clean_environment

from tvrkit.cli import output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [bold]name[/bold] é 犬 🐕", "plain [bold]name[/bold] é 犬 🐕"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("evil\u202egnp.mp4", "evil\\u202egnp.mp4"),
        ("bad\udcffbyte", "bad\\udcffbyte"),
        ("a\rb", "a\\x0db"),
    ],
)
def test_printable(text, shown):
    assert output.printable(text) == shown


def test_json_is_one_line_and_keeps_every_name(capsys):
    for value in ({"path": "犬\n\x1b.mp4"}, {"path": "bad\udcff.mp4"}):
        output.print_json(value)
        line = capsys.readouterr().out
        assert line.count("\n") == 1
        assert "\x1b" not in line
        assert json.loads(line) == value
    with pytest.raises(ValueError, match="JSON"):
        output.print_json({"score": float("nan")})


def test_words_go_to_stderr_and_tables_to_stdout(capsys):
    output.say("hello [red]x[/red]")
    output.warn("careful")
    output.print_table(("file", "R@1"), [("a[1].mp4", 12.5), ("\x1b[2J", None)], title="Result")
    got = capsys.readouterr()
    assert got.err == "hello [red]x[/red]\nWarning: careful\n"
    assert "a[1].mp4" in got.out
    assert "\\x1b[2J" in got.out
    assert "12.5" in got.out
    assert "\x1b" not in got.out


def test_a_row_stays_on_its_line_in_a_file_and_folds_on_a_terminal(capsys, monkeypatch):
    rows = [(1, "x" * 200, "0:07"), (12, "y", "10:00")]
    monkeypatch.delenv("COLUMNS", raising=False)
    output.print_table(("rank", "file", "best"), rows)
    wide = capsys.readouterr().out
    assert "x" * 200 in wide
    assert [line.rstrip().endswith(("0:07", "10:00")) for line in wide.splitlines()[3:5]] == [True, True]
    assert wide.splitlines()[3].startswith("    1")  # numbers to the right
    monkeypatch.setenv("COLUMNS", "80")
    output.print_table(("rank", "file", "best"), rows)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_progress_in_a_log_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(output, "SECONDS_BETWEEN_LINES", 0.0)
    with output.progress("Encoding", total=4) as bar:
        bar.advance()
        bar.note("1 failed")
        bar.advance(3)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["Encoding 1/4", "Encoding 4/4"]
    assert lines[0].endswith(" left")
    assert lines[-1].endswith("1 failed")


def test_clock():
    assert [output.clock(s) for s in (0, 59.6, 61, 3725)] == ["0:00", "1:00", "1:01", "1:02:05"]


LIVE = """
from tvrkit.cli.output import progress, say
with progress("Encoding videos [x]", total=3) as bar:
    for i in range(3):
        bar.advance()
        bar.note("2 failed [y]")
    say("a word in between")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_progress_on_a_terminal_of_80_columns(tmp_path):
    import pty

    main, other = pty.openpty()
    env = clean_environment(tmp_path, TERM="xterm")
    process = subprocess.Popen([sys.executable, "-c", LIVE], env=env, stderr=other, stdout=other, stdin=other)
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux says so when the other side has closed
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait() == 0
    text = shown.decode()
    assert "Encoding videos [x]" in text
    assert "3/3" in text
    assert "2 failed [y]" in text
    assert "a word in between" in text
