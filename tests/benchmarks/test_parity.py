"""benchmarks/parity.py says what it needs; its tables need checkouts that no test has."""

import subprocess
import sys

from support import REPO


def run(*arguments):
    return subprocess.run(
        [sys.executable, REPO / "benchmarks/parity.py", *arguments], capture_output=True, text=True, check=False
    )


def test_it_names_what_it_needs(tmp_path):
    done = run()
    assert done.returncode == 1 and "give --dmae DIR, --drl DIR, --clip4clip DIR" in done.stderr
    done = run("--drl", str(tmp_path))
    assert done.returncode == 1 and "is not there: give the folder of a checkout." in done.stderr
    assert "Traceback" not in done.stderr
