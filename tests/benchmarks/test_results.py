"""`make bench`: one page out of what the scripts under benchmarks/ measure, and an exit status."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from support import REPO

BENCHMARKS = REPO / "benchmarks"
SCRIPT = """
import sys
sys.path.insert(0, {benchmarks!r})
from timing import row, skipped
if __name__ == "__main__":
    row("adding | numbers", "a rival", [2.0, 1.0, 3.0], [4.0, 1.0, 9.0], note="made up")
    skipped("another rival", "it is not installed")
    {more}
"""
ON_GPU = "row('a step', 'plain', [.5], [1.0], gpu={'device': 'a GPU', 'mfu': 41.25, 'gigabytes': 30.0})"


def results(*arguments):
    command = [sys.executable, BENCHMARKS / "results.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_page_of_a_real_script(tmp_path):
    """The quickest script's lines stand on the page as ratios, with the command and the machine."""
    done = results("--small", "--only", "evaluation", "--out", tmp_path / "page.md")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.md").read_text()
    assert "`python benchmarks/evaluation.py --small`" in page
    assert re.search(r"\| commit \| .+ \|\n\| machine \| \d+ cores, ", page)
    assert re.search(r"^Versions: Python 3.*, torch \d", page, re.MULTILINE)
    line = (
        r"\| ranks both ways, 1000 texts x 1000 videos \| [\d.]+ ms \| torch argsort \| [\d.]+ ms \| [\d.]+ \([\d.]+-"
    )
    assert re.search(line, page)
    assert "torch argsort" in done.stdout, "the script's own table is shown to people"


@pytest.mark.slow
def test_a_failure_is_named_and_the_rest_runs(tmp_path):
    """Ratios are of medians; a script that fails keeps its lines, is named, and makes the exit status 1."""
    benchmarks = str(BENCHMARKS)
    (tmp_path / "good.py").write_text(SCRIPT.format(benchmarks=benchmarks, more=ON_GPU))
    (tmp_path / "bad.py").write_text(SCRIPT.format(benchmarks=benchmarks, more="raise SystemExit('no more memory')"))
    (tmp_path / "slow.py").write_text("import time\nif __name__ == '__main__':\n    time.sleep(3600)\n")
    done = results("--folder", tmp_path, "--limit", "15", "--out", tmp_path / "page.md")
    assert done.returncode == 1
    page = (tmp_path / "page.md").read_text()
    failed = page.split("## Failed")[1].split("##")[0]
    assert "bad.py`: exit status 1: no more memory" in failed
    assert "slow.py`: it took longer than 15 s" in failed
    assert "good.py" not in failed
    assert page.count("| adding / numbers | 2.00 s | a rival | 4.00 s | 2.00 (1.00-3.00, 3 turns) | made up |") == 2
    assert "| a step | 500 ms | plain | 1.00 s | 2.00 (one turn) |  | 41.2 % | 30.0 |" in page
    assert "- another rival: it is not installed (`python " in page.split("## Left out")[1]
    assert "no more memory" in done.stderr


def test_an_unknown_name_is_refused(tmp_path):
    done = results("--only", "nothing", "--out", tmp_path / "page.md")
    assert done.returncode == 1
    assert "There is no benchmark nothing in benchmarks/: " in done.stderr
    assert not (tmp_path / "page.md").exists()
