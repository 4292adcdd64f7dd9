"""A served index of real clips with unfriendly names."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tvrkit.cli.opening import Opened, open_with
from tvrkit.cli.updating import update_index
from tvrkit.core import RetrievalModel
from tvrkit.frames.reading import Reading
from tvrkit.serve.listening import listen
from tvrkit.serve.server import make_server
from tvrkit.serve.service import Service
from tvrkit.serve.settings import Settings

HTML = "<img src=x onerror=alert(1)>.mp4"
CONTROL = "tab\there \x1b[31mred \u202egpj.mp4"
NO_UTF8 = os.fsdecode(b"caf\xe9.mp4")


@dataclass
class World:
    """A folder of clips, a model, an index of them, and how it is opened once more."""

    clips: Path
    model_folder: Path
    index: Path
    model: RetrievalModel

    def open(self) -> Opened:
        return open_with(self.model, str(self.model_folder), str(self.index), create=False)

    def update(self) -> None:
        with open_with(self.model, str(self.model_folder), str(self.index), create=True) as opened:
            update_index(opened, [str(self.clips)], reading=Reading(workers=0))


def served(world: World, cache: Path, **settings: object) -> Service:
    return Service(world.open, Settings(**settings), cache)


@contextmanager
def answering(service: Service) -> Iterator[httpx.Client]:
    """A client of a real server on a real socket, which runs in a thread."""
    server = make_server(service)
    with listen(Settings(port=0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=120) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()
