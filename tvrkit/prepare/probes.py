"""Is a clip readable, and what is it? Asked of each file once, and again only after it changed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvrkit.errors import VideoError
from tvrkit.frames.identity import file_identity
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reader import FrameRequest, VideoInfo
from tvrkit.frames.reading import Reading
from tvrkit.prepare.memory import Memory
from tvrkit.reporting import Bar, Reporter

PROBES_NAME = "probes.json"

Span = tuple[Path, float | None, float | None]  # file, start and end in seconds


@dataclass(frozen=True)
class Probes:
    """What was found out.

    Attributes:
        durations: seconds of each readable file.
        failures: why each other one cannot be used.
        new: how many were looked into now.
        infos: of each readable file, what it says of itself.
    """

    durations: dict[Span, float]
    failures: dict[Span, str]
    new: int
    infos: dict[Span, VideoInfo] = field(default_factory=dict)


def probe_all(
    spans: Sequence[Span],
    cache: Path,
    *,
    reading: Reading,
    watcher: Reporter,
    again: bool = False,
) -> Probes:
    """Decode a frame out of the middle of each span, in processes that can be killed.

    What could be read is remembered in `cache` under the file's identity, saved now and then, so that an interrupted
    preparation goes on where it stopped. What could not be read is tried again the next time.

    Args:
        spans: the clips; several may lie in one file.
        cache: where the answers are kept.
        reading: how videos are read.
        watcher: is told how it goes.
        again: look into every one, whatever the cache says of it.
    """
    memory = Memory(cache)
    infos: dict[Span, VideoInfo] = {}
    failures: dict[Span, str] = {}
    waiting: dict[Span, str] = {}
    identity_of = functools.cache(file_identity)
    for span in spans:
        try:
            identity = identity_of(span[0])
        except VideoError as error:
            failures[span] = error.reason
            continue
        if again or (info := _read_info(memory.answers.get(_key(identity, span)))) is None:
            waiting[span] = identity
        else:
            infos[span] = info
    new = len(failures) + len(waiting)
    if waiting:
        try:
            with DecodePool.of(reading) as pool, watcher.progress("Checking clips", new) as bar:
                if failures:
                    bar.advance(len(failures))
                _look(waiting, pool, bar, memory, infos, failures)
        finally:
            memory.save()
    durations = {span: info.duration_seconds for span, info in infos.items()}
    return Probes(durations, failures, new, infos)


def _look(
    waiting: dict[Span, str],
    pool: DecodePool,
    bar: Bar,
    memory: Memory,
    infos: dict[Span, VideoInfo],
    failures: dict[Span, str],
) -> None:
    """Decode, and sort into `infos` and `failures`. Of the spans of one file only the first asks for its facts."""
    facts: dict[str, VideoInfo] = {}
    left = waiting
    while left:
        firsts = {identity: span for span, identity in reversed(left.items())}
        requests = (
            FrameRequest(str(span[0]), 1, start_seconds=span[1], end_seconds=span[2], with_info=span == firsts[name])
            for span, name in left.items()
        )
        untold: dict[Span, str] = {}
        for (span, identity), decoded in zip(left.items(), pool.imap(requests), strict=True):
            if decoded.info is not None:
                facts[identity] = decoded.info
            if decoded.error is not None:
                failures[span] = decoded.error.reason
                memory.forget(_key(identity, span))
                bar.note(f"{len(failures)} unreadable")
            elif identity in facts:
                infos[span] = facts[identity]
                memory.keep(_key(identity, span), vars(facts[identity]))
            else:
                untold[span] = identity
                continue
            bar.advance()
        left = untold  # readable ones of files whose first span is not: now another one asks


def _key(identity: str, span: Span) -> str:
    return " ".join([identity, *("-" if second is None else f"{second:g}" for second in span[1:])])


def _read_info(value: Any) -> VideoInfo | None:
    """One remembered answer; None for what an older version wrote (a bare duration) or somebody else did."""
    try:
        info = VideoInfo(**value)
    except TypeError:
        return None
    numbers = (info.duration_seconds, info.fps, info.width, info.height, info.rotation, info.frames or 0)
    return info if all(isinstance(number, (int, float)) for number in numbers) else None
