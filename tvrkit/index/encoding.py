"""Videos to their moments wherever they lie: what every engine (one process, a shard, Ray) runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from tvrkit.core import RetrievalModel
from tvrkit.encode.moments import VideoMoments, iter_moments
from tvrkit.errors import VideoError
from tvrkit.frames.moment_request import Cutting
from tvrkit.frames.reading import Reading
from tvrkit.index.remote import fetched_ahead


def iter_anywhere(
    model: RetrievalModel, paths: Iterable[str], *, cutting: Cutting, reading: Reading = Reading()
) -> Iterator[VideoMoments | VideoError]:
    """As `iter_moments`, for paths and addresses; those at an address are fetched ahead, and deleted once read."""
    unfetched: dict[str, VideoError] = {}
    asked: deque[str] = deque()

    def noted() -> Iterator[str]:
        for path in paths:
            asked.append(path)
            yield path

    def readable(copies: Iterator[Path | VideoError]) -> Iterator[str]:
        for number, copy in enumerate(copies):
            path = f"/dev/null/{number}" if isinstance(copy, VideoError) else str(copy)
            if isinstance(copy, VideoError):
                unfetched[path] = copy  # nothing can be there, so it fails in its place in the order
            yield path

    with fetched_ahead(noted(), ahead=max(4, 2 * reading.workers)) as copies:
        answers = iter_moments(model, readable(copies), cutting=cutting, reading=reading)
        for answer in answers:
            path = asked.popleft()
            if isinstance(answer, VideoError):
                yield unfetched.get(answer.path, VideoError(path, answer.reason))
            else:
                yield answer
