"""Fixtures for every test: restored random state, folders of its own, the shared data, the real command line."""

from __future__ import annotations

import functools
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from support import REPO, Result, run_tvrkit

# As the command line sets it, and before anything imports torch: waiting threads sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # each process has a core: more threads would only wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A machine that is busy with something else is no failure.
hypothesis.settings.register_profile("tvrkit", deadline=None)
hypothesis.settings.load_profile("tvrkit")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `needs_cuda` skip where torch sees no NVIDIA GPU."""
    if item.get_closest_marker("needs_cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU")


@pytest.fixture(autouse=True)
def random_state() -> Iterator[None]:
    """Leave the random generators as they were found."""
    python, numpy = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")  # never imported for its own sake
    state = torch.random.get_rng_state() if torch else None
    yield
    random.setstate(python)
    np.random.set_state(numpy)
    if torch:
        torch.random.set_rng_state(state)


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Data, runs and caches of a test lie in its own folder, and nothing is fetched."""
    for name in ("data", "runs", "cache"):
        monkeypatch.setenv(f"TVRKIT_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("TVRKIT_TRACEBACK", raising=False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real videos and annotations that lies beside some checkouts; the test skips without it."""
    folder = Path(os.environ.get("TVRKIT_SHARED", REPO.parent / "shared"))
    if not (folder / "clips").is_dir():
        pytest.skip(f"needs the real videos that belong at {folder} (or at $TVRKIT_SHARED)")
    return folder


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., Result]:
    """`run_cli("eval", "--json", env={…}, cwd=…, timeout=…, stdin=…)`: the real command in a fresh process.

    It runs in the test's folder, which is its home as well: data sets are under `tmp_path/"data"`, runs under
    `tmp_path/"runs"`. A fixture of a wider scope calls `support.run_tvrkit(…, cwd=folder)` itself.
    """
    return functools.partial(run_tvrkit, cwd=tmp_path)
