"""The command line as a user has it: a fresh process with a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]

# What a process needs to start at all, here and on Windows, and what says where tests may find things.
KEPT = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class Result:
    """What a finished command left: its exit code, its data, its words."""

    code: int
    stdout: str
    stderr: str


def clean_environment(home: Path, **extra: str) -> dict[str, str]:
    """An environment with an empty home, 80 columns, and no way to a model hub."""
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        "HOME": str(home),
        "USERPROFILE": str(home),
        "LANG": "C.UTF-8",
        "COLUMNS": "80",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(REPO),
        **extra,
    }


def run_tvrkit(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
    stdin: str | None = None,
) -> Result:
    """Run `python -m tvrkit ARGUMENTS` in `cwd`, with `cwd` as home and `env` on top of a clean environment."""
    done = subprocess.run(
        [sys.executable, "-m", "tvrkit", *map(str, arguments)],
        cwd=cwd,
        env=clean_environment(cwd, **(env or {})),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=timeout,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def needs_compiler() -> None:
    """Skip the test where torch.compile has no C++ compiler to work with; tvrkit's own sentence says why."""
    import pytest
    import torch

    from tvrkit.errors import InstallError
    from tvrkit.train.towers import check_compiler

    try:
        check_compiler(torch.device("cpu"))
    except InstallError as error:
        pytest.skip(str(error))
