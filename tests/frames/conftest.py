"""One folder of real videos for all tests of frames/, each made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from videos import VIDEOS


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`video("h264.mp4")`: the path of one of `VIDEOS`; not to be changed."""
    folder = tmp_path_factory.mktemp("videos")

    def path_of(name: str) -> Path:
        path = folder / name
        if not path.exists():
            VIDEOS[name](path)
        return path

    return path_of
