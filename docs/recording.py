"""Record what the commands print and what the pages show: `python docs/recording.py RUN DATA`.

RUN is a run of `tvrkit train` on the built-in shapes, DATA the folder of that data set. Each command really runs, in a
terminal of 80 columns; what it left on the screen becomes an SVG file in docs/pictures, the pages of `tvrkit serve` and
`tvrkit query --page` become PNG files. Needs Linux or macOS, and Chromium or Chrome for the pages.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import click
from PIL import Image

OUT = Path(__file__).with_name("pictures")
COLUMNS = 80
MODEL, PAGE = "shapes-model", "found.html"
VIDEOS = "data/shapes/videos/val"
QUESTION = "a small red box stays still before a big yellow ball moves up"
QUERY = f'query "{QUESTION}" --videos {VIDEOS} --model {MODEL}'
# What has to be there before the first recording; the model is no better or worse for it.
BEFORE = (
    f"export runs/{{run}} --out {MODEL}",
    f"calibrate --model {MODEL} --data shapes",
    f"{QUERY} --top 3 --explain --page {PAGE}",
)
RECORDINGS = {
    "query": f"{QUERY} --top 3",
    "explain": f"{QUERY} --top 1 --explain",
    "eval": "eval runs/{run} --data shapes",
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"
_FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --hide-scrollbars"
_LISTENS = re.compile(r"http://[\d.]+:\d+/?")
_SEQUENCE = re.compile(r"\x1b\[([\d;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n])")

# rich's own format fetches a font; this one takes what the reader has. Each piece of text has its width written to it.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px;
line-height: {line_height}px; }}
.{unique_id}-title {{ font: 600 18px system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g>
</svg>
"""


def main() -> None:
    """Record all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "data").mkdir()
        (place / "runs").mkdir()
        (place / "data/shapes").symlink_to(options.data.resolve())
        (place / "runs" / options.run.name).symlink_to(options.run.resolve())
        for line in BEFORE:
            in_terminal(line.format(run=options.run.name), place)
        for title, line in RECORDINGS.items():
            command = line.format(run=options.run.name)
            written = in_terminal(command, place)
            svg = as_svg(f"$ tvrkit {command}\n" + "\n".join(screen(written)), f"tvrkit {title}")
            (options.out / f"terminal-{title}.svg").write_text(svg, encoding="utf-8")
        photograph_pages(place, options.out)


def in_terminal(line: str, place: Path) -> str:
    """What `tvrkit LINE` writes to a terminal, run in `place`; a failure ends the recording."""
    import pty

    ours, theirs = pty.openpty()
    click.echo(f"$ tvrkit {line}", err=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tvrkit", *shlex.split(line)],
        cwd=place, env=environment(place), stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            some = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            some = b""
        if not some:
            break
        written += some
    os.close(ours)
    text = written.decode("utf-8", "replace")
    if process.wait():
        raise SystemExit(f"`tvrkit {line}` ended with exit code {process.returncode}:\n{text[-2000:]}")
    return text


def environment(place: Path) -> dict[str, str]:
    """The reader's own, without settings that would show another place or colour."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TVRKIT_", "NO_COLOR"))}
    return kept | {
        "COLUMNS": str(COLUMNS),
        "LINES": "60",
        "TERM": "xterm-256color",
        "TVRKIT_CACHE": str(place / "cache"),
    }


def screen(written: str) -> list[str]:
    """What stays on a terminal when all is written: lines with their colours, without what was drawn over."""
    lines: list[list[tuple[str, str]]] = [[]]
    row = column = 0
    style = ""
    for codes, letter, move, character in _SEQUENCE.findall(written):
        if letter == "m":
            style = "" if codes in ("", "0") else style + f"\x1b[{codes}m"
        elif letter == "A":
            row = max(0, row - int(codes or 1))
        elif letter == "K":
            del lines[row][0 if codes == "2" else column :]
        elif move == "\r":
            column = 0
        elif move == "\n":
            row, column = row + 1, 0
            lines += [[]] * (row == len(lines))
            lines[row] = list(lines[row])
        elif character:
            lines[row] += [(" ", "")] * (column + 1 - len(lines[row]))
            lines[row][column] = (character, style)
            column += 1
    shown = []
    for line in lines:
        runs = (
            (style, "".join(what for what, _ in run)) for style, run in itertools.groupby(line, lambda cell: cell[1])
        )
        shown.append("".join(f"{style}{what}\x1b[0m" if style else what for style, what in runs).rstrip())
    while shown and not shown[-1]:
        shown.pop()
    return shown


def as_svg(text: str, title: str) -> str:
    """A window with coloured text, as rich draws it, with nothing to be fetched."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text.from_ansi(text), soft_wrap=False)
    name = re.sub(r"\W+", "-", title)
    return console.export_svg(title=title, code_format=FORMAT, unique_id=name)


def photograph_pages(place: Path, out: Path) -> None:
    """Take a picture of each page, where there is a browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        click.echo("No Chromium or Chrome here: no pictures of the pages.", err=True)
        return
    photograph(browser, (place / PAGE).as_uri(), place, out / "page-query.png", "1000,720", LIGHT)
    with served(place) as address:
        photograph(browser, f"{address}?q={quote(QUESTION)}", place, out / "page-serve.png", "1000,740", DARK)


@contextmanager
def served(place: Path) -> Iterator[str]:
    """The address of `tvrkit serve` over the videos, until the end of the block."""
    line = [sys.executable, "-m", "tvrkit", "serve", VIDEOS, "--model", MODEL, "--port", "0"]
    click.echo(f"$ {shlex.join(['tvrkit', *line[3:]])}", err=True)
    process = subprocess.Popen(
        line, cwd=place, env=environment(place), stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        found = next(filter(None, map(_LISTENS.search, process.stdout)), None)
        if found is None:
            raise SystemExit("`tvrkit serve` ended before it listened.")
        yield found[0].rstrip("/") + "/"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def photograph(browser: str, address: str, place: Path, path: Path, size: str, *flags: str) -> None:
    """Let a browser without a window open a page, and store what it shows in few colours."""
    taken = place / "taken.png"
    subprocess.run(
        [
            browser, *_FLAGS.split(), *flags, f"--user-data-dir={place / 'browser'}", f"--window-size={size}",
            "--virtual-time-budget=10000", f"--screenshot={taken}", address,
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    image = Image.open(taken).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    image.save(path, optimize=True)


if __name__ == "__main__":
    main()
