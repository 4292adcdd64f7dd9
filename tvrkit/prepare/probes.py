"""Is a clip readable, and how long is it? Asked of each file once, and again only after it changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tvrkit.errors import VideoError
from tvrkit.files import write_json
from tvrkit.frames.identity import file_identity
from tvrkit.frames.pool import DecodePool
from tvrkit.frames.reader import FrameRequest
from tvrkit.reporting import Reporter

PROBES_NAME = "probes.json"
SAVE_EVERY = 200  # clips

Span = tuple[Path, float | None, float | None]  # file, start and end in seconds


@dataclass(frozen=True)
class Probes:
    """Duration of each readable file in seconds, the reason for each that is not, and how many were looked into now."""

    durations: dict[Span, float]
    failures: dict[Span, str]
    new: int


def probe_all(
    spans: Sequence[Span], cache: Path, *, reader: str, workers: int, timeout_seconds: float, watcher: Reporter
) -> Probes:
    """Decode a frame out of the middle of each span, in processes that can be killed.

    What could be read is remembered in `cache` under the file's identity, saved now and then, so that an interrupted
    preparation goes on where it stopped. What could not be read is tried again the next time.
    """
    known = _read(cache)
    durations: dict[Span, float] = {}
    failures: dict[Span, str] = {}
    waiting: list[tuple[Span, str]] = []
    for span in spans:
        try:
            key = f"{file_identity(span[0])} {_words(span)}"
        except VideoError as error:
            failures[span] = error.reason
            continue
        if key in known:
            durations[span] = known[key]
        else:
            waiting.append((span, key))
    if not waiting:
        return Probes(durations, failures, len(failures))
    new = len(failures) + len(waiting)
    requests = [FrameRequest(str(s[0]), num_frames=1, start_seconds=s[1], end_seconds=s[2]) for s, _ in waiting]
    try:
        with (
            DecodePool(workers, reader=reader, timeout_seconds=timeout_seconds) as pool,
            watcher.progress("Checking clips", len(waiting)) as bar,
        ):
            for number, ((span, key), decoded) in enumerate(zip(waiting, pool.imap(requests), strict=True), start=1):
                if decoded.error is not None:
                    failures[span] = decoded.error.reason
                    bar.note(f"{len(failures)} unreadable")
                elif decoded.duration_seconds is not None:
                    durations[span] = known[key] = decoded.duration_seconds
                bar.advance()
                if number % SAVE_EVERY == 0:
                    write_json(cache, known)
    finally:
        write_json(cache, known)
    return Probes(durations, failures, new)


def _words(span: Span) -> str:
    return " ".join("-" if second is None else f"{second:g}" for second in span[1:])


def _read(cache: Path) -> dict[str, float]:
    """What is remembered; a damaged cache is only a slow one."""
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {key: float(value) for key, value in known.items() if isinstance(value, (int, float))}
