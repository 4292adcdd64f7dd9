"""benchmarks/copies.py on three small clips, at thresholds that everything and nothing reaches."""

import subprocess
import sys

from ffmpeg_reference import needs_ffmpeg
from support import REPO
from tiny import write_video


@needs_ffmpeg
def test_counts_at_both_ends(tmp_path):
    """18 videos are 153 pairs: 15 within each of 3 clips, so 45, and 108 across."""
    for colour, place in (("red", "left"), ("green", "top"), ("blue", "right")):
        write_video(tmp_path / "clips" / f"{colour}.mp4", colour, place, frames=24)
    command = [sys.executable, REPO / "benchmarks/copies.py", tmp_path / "clips", "--model", "random:shapes"]
    done = subprocess.run([*command, "--thresholds", "-1", "1.1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    everything, nothing = ([cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[-2:])
    assert everything[:-1] == ["random:shapes", "-1", *["1.00"] * 5, "108 of 108", "0.29"]
    assert nothing == ["random:shapes", "1.1", *["0.00"] * 5, "0 of 108", "-", "0"]
