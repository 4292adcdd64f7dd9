from __future__ import annotations

from pathlib import Path

import pytest
from searching import make_clips, make_model

from tvrkit.core import RetrievalModel


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips, to be looked at only; a test that changes some copies them first."""
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> RetrievalModel:
    return make_model(tmp_path_factory.mktemp("model") / "m", nearest_frame=True, key_words=True)
