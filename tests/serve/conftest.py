"""One served index of real clips with unfriendly names, for all tests of the server."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

import httpx
import pytest
from media import make_video
from searching import make_clips, make_model
from serving import CONTROL, HTML, NO_UTF8, World, answering, served

from tvrkit.serve.service import Service


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("served")
    clips = make_clips(folder / "clips")
    for number, name in enumerate((HTML, CONTROL, NO_UTF8) if sys.platform == "linux" else ()):
        make_video(clips / name, num_frames=12 + 3 * number, size=(96, 64), noise=30 + number)
    shutil.copy(clips / "a.mp4", clips / "sub" / "copy of a.mp4")
    world = World(clips, folder / "model", folder / "index", make_model(folder / "model"))
    world.update()
    return world


@pytest.fixture
def own_world(built, tmp_path) -> World:
    """A copy that a test may change."""
    shutil.copytree(built.clips, tmp_path / "clips")
    world = World(tmp_path / "clips", built.model_folder, tmp_path / "index", built.model)
    world.update()
    return world


@pytest.fixture(scope="session")
def service(built, tmp_path_factory) -> Iterator[Service]:
    with served(built, tmp_path_factory.mktemp("cache")) as service:
        yield service


@pytest.fixture(scope="session")
def client(service) -> Iterator[httpx.Client]:
    with answering(service) as client:
        yield client


@pytest.fixture(scope="session")
def identity(service):
    """The identity of a video, by the name of a file of it."""
    of_name = {os.path.basename(path): video for video, facts in service.snapshot.facts.items() for path in facts.paths}
    return of_name.__getitem__


@pytest.fixture(scope="session")
def running(client) -> tuple[str, int]:
    """Address and port of the server."""
    return client.base_url.host, client.base_url.port
