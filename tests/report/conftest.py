"""Fixtures of the report's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from media import make_video


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frame i is shown at i / 10 seconds and shows the number i."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "videos").mkdir()
    for v, frames in enumerate((30, 80, 80)):
        make_video(folder / "videos" / f"{v}.mp4", num_frames=frames, fps=10, size=(320, 240))
    (folder / "videos" / "3.mp4").write_bytes(b"broken")
    return folder
