"""All that answers requests, started and stopped as one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

from tvrkit.serve.batching import Worker
from tvrkit.serve.clips import Clips
from tvrkit.serve.gate import Gate
from tvrkit.serve.images import Images
from tvrkit.serve.media import MPEG_4, WEBM, OpenFile, open_video
from tvrkit.serve.metrics import Metrics
from tvrkit.serve.refusal import Refusal
from tvrkit.serve.settings import Settings
from tvrkit.serve.state import Opened, Snapshot, State
from tvrkit.serve.thumbnails import Thumbnails

_IDENTITY = re.compile(r"[0-9a-f]{32}")

# What current browsers play inside an mp4. H.265 only some do, and only on some machines.
_PLAYED = frozenset({"h264", "vp9", "av1"})
_MOST_CODECS = 10_000


class Service:
    """A context manager: it opens the index when it is entered, and lets go of everything at the end.

    Args:
        open_index: gives the model and the index; called in the thread that they will belong to.
        settings: what the server was started with.
        cache: folder for what can be made again.

    Raises:
        TvrkitError: on entering, what `open_index` raised.
    """

    def __init__(self, open_index: Callable[[], Opened], settings: Settings, cache: Path) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.worker: Worker[State] = Worker(
            lambda: State(open_index()), batching=settings.batching, watch=self.metrics.together
        )
        self.thumbnails = Thumbnails(cache / "thumbnails")
        self.clips = Clips(cache / "clips")
        self.images = Images()
        self.pictures = Gate("pictures", 1, 16)
        self._state: State | None = None
        self._playable: dict[str, bool] = {}

    def __enter__(self) -> Service:
        try:
            self._state = self.worker.start()
        except BaseException:
            self._close_others()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.worker.stop()
        self._close_others()

    def _close_others(self) -> None:
        self.pictures.close()
        self.clips.close()
        self.thumbnails.close()
        self.images.close()

    @property
    def snapshot(self) -> Snapshot:
        """The index as it was when last looked at."""
        assert self._state is not None
        return self._state.snapshot

    async def open(self, video: str) -> OpenFile:
        """Open an indexed video; raises Refusal."""
        check_identity(video)
        return await asyncio.to_thread(open_video, self.snapshot, video)

    async def path(self, video: str) -> str:
        """Where an indexed video lies; raises Refusal."""
        opened = await self.open(video)
        opened.file.close()
        return opened.path

    def resolve(self, kind: str, value: str) -> str:
        """What the search finds a part of a question by: the file of a picture, a video's identity.

        Raises:
            Refusal: 422, there is none.
        """
        if kind == "image":
            return self.images.path(value)
        if value not in self.snapshot.facts:
            raise Refusal(422, "there is no such video in the index: the value of such a part is a video's identity.")
        return value

    async def playable(self, video: str) -> bool:
        """Whether browsers play the file as it is; a file that cannot be looked into is not."""
        if video not in self._playable:
            try:
                opened = await self.open(video)
                opened.file.close()
                kind = opened.content_type
                plays = kind == WEBM or (kind == MPEG_4 and await self.thumbnails.codec(opened.path) in _PLAYED)
            except Refusal:
                return False
            if len(self._playable) >= _MOST_CODECS:
                self._playable.clear()
            self._playable[video] = plays
        return self._playable[video]


def check_identity(video: str) -> None:
    """Refuse what is no identity; raises Refusal 404."""
    if not _IDENTITY.fullmatch(video):
        raise Refusal(404, "that is no video's identity: they have 32 hexadecimal digits.")
