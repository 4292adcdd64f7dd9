"""A served index for the tests of the page, and what they ask of the page again and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devtools import Tab
from media import make_video
from searching import make_clips, make_model
from support import clean_environment

from tvrkit.cli.opening import open_with
from tvrkit.cli.updating import update_index
from tvrkit.frames.reading import Reading

TOKEN = "a-token-that-is-long-enough"
LONG, LONG_FPS = "long.mp4", 5
OLD = "old.avi"
HOSTILE = (
    "<img src=x onerror=\"document.title='run'\">.webm",
    "<script>document.title='run'<\\script>.mp4",
    "turned \u202egpj.mp4",
    "قطة تجري 🐈\u200d⬛.mp4",
    "line\nbreak \x1b[31m.mp4",
    "a_name_without_a_place_to_break_" * 7 + ".mp4",
    "no text \udcff.mp4",
)

# The number that a frame of tests/media.py shows, of a <video> or an <img>.
FRAME_NUMBER = """((picture) => {
  const board = Object.assign(document.createElement("canvas"), {width: 64, height: 48});
  const brush = board.getContext("2d", {willReadFrequently: true});
  brush.drawImage(picture, 0, 0, 64, 48);
  let number = 0, bit = 0;
  for (let row = 0; row < 4; row++) for (let column = 0; column < 4; column++) {
    if ((row === 0 || row === 3) && (column === 0 || column === 3)) continue;
    const [red, green, blue] = brush.getImageData(16 * column + 8, 12 * row + 6, 1, 1).data;
    if (red + green + blue > 384) number |= 1 << bit;
    bit++;
  }
  return number;
})"""


@dataclass
class Site:
    """Where the page is.

    Attributes:
        address: with a / at its end.
        key: what stands behind the # for the token.
        clips: the served folder.
        key: what stands behind the # for the token.
    """

    address: str
    clips: Path
    key: str = f"#token={TOKEN}"


def make_folder(folder: Path) -> Path:
    """Clips of all kinds: one long enough for several moments, one that no browser plays, names that mean harm."""
    make_clips(folder)
    make_video(folder / LONG, num_frames=20 * LONG_FPS, fps=LONG_FPS, size=(160, 120), gop=5)
    make_video(folder / "sub" / OLD, num_frames=30, fps=10, codec="mpeg4", size=(128, 96))
    for number, name in enumerate(HOSTILE):
        codec = "libvpx-vp9" if name.endswith(".webm") else "libx264"
        make_video(folder / name, num_frames=12 + number, fps=10, codec=codec, size=(96, 64))
    return folder


@contextmanager
def served_page(folder: Path) -> Iterator[Site]:
    """A real `tvrkit serve` until the end of the block."""
    clips = make_folder(folder / "clips")
    model, where = make_model(folder / "model"), folder / "index"
    cutting = {"cut": "fixed", "max_seconds": 6.0, "overlap_seconds": 1.0}
    with open_with(model, str(folder / "model"), str(where), create=True, cutting=cutting) as opened:
        update_index(opened, [str(clips)], reading=Reading(workers=0))
    words = (folder / "words").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "tvrkit", "serve", "--index", str(where), "--port", "0", "--token", TOKEN],
        cwd=folder,
        env=clean_environment(folder, TVRKIT_CACHE=str(folder / "cache")),
        stdin=subprocess.DEVNULL,
        stderr=words,
    )
    try:
        yield Site(_address(process, words.name), clips)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130, Path(words.name).read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        words.close()


def _address(process: subprocess.Popen[bytes], words: str) -> str:
    end = time.monotonic() + 300
    while time.monotonic() < end and process.poll() is None:
        said = Path(words).read_text()
        if "Serving at " in said:
            return said.partition("Serving at ")[2].split()[0].partition("#")[0]
        time.sleep(0.05)
    raise AssertionError(Path(words).read_text())


def go(tab: Tab, site: Site, query: str = "", ready: str = "document.querySelector('.card')") -> Tab:
    """Open the page with the token, and wait."""
    tab.open(f"{site.address}{query}{site.key}")
    tab.wait(ready)
    return tab


def card(tab: Tab, name: str) -> str:
    """A selector of the card of a file."""
    wanted = f"c => c.querySelector('.name').textContent === {json.dumps(name)}"
    video = tab.wait(f"[...document.querySelectorAll('.card')].find({wanted})?.dataset.video")
    return f".card[data-video='{video}']"


def names(tab: Tab) -> list[str]:
    """Of the shown videos, best first."""
    return tab.run("[...document.querySelectorAll('.name')].map(e => e.textContent)")


def row(tab: Tab) -> int:
    """How many cards stand side by side."""
    tops = tab.run("[...document.querySelectorAll('.card')].map(e => e.getBoundingClientRect().top)")
    return tops.count(tops[0])


CONTRAST = """((find) => {
  const board = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
  const brush = board.getContext("2d", {willReadFrequently: true});
  const rgb = (colour) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    return [...brush.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => colour.slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const element = document.querySelector(find);
  let behind = element;
  while (behind.parentElement && rgb(getComputedStyle(behind).backgroundColor)[3] < 128) behind = behind.parentElement;
  const colours = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
  const pair = colours.map((one) => light(rgb(one)));
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
})"""


def fits(tab: Tab) -> bool:
    """Whether nothing hangs out of the window to the right."""
    return tab.run("document.documentElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth")


def shown(path: str) -> str:
    """A name as the page has to show it."""
    escaped = {"\u202e": "\\u202e", "\n": "\\u000a", "\x1b": "\\u001b", "\udcff": "\\udcff"}
    return "".join(escaped.get(letter, letter) for letter in os.path.basename(path))
