"""Which videos a question looks among: filters to identities, and how people write dates and lengths of time.

Imports no torch.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from tvrkit.errors import ConfigError
from tvrkit.index.ask import Where, as_absolute

if TYPE_CHECKING:
    from tvrkit.index.engine import VideoFacts

_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")
_UNITS = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?", re.IGNORECASE)
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([hdw])", re.IGNORECASE)
_DAY = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")
_SECONDS_OF = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def allowed_videos(where: Where, facts: Mapping[str, VideoFacts]) -> frozenset[str] | None:
    """The identities among which to look; None where all are allowed, so that nothing has to be compared.

    Args:
        where: the filters. A content lies inside when any of its paths does.
        facts: of the engine, by identity.
    """
    if where == Where():
        return None
    inside = _Inside(where.inside)
    return frozenset(
        identity
        for identity, video in facts.items()
        if _fits(video.duration_seconds, where.min_seconds, where.max_seconds)
        and (where.after is None or video.modified >= where.after)
        and (where.before is None or video.modified < where.before)
        and any(map(inside, video.paths))
    )


def paths_inside(where: Where, paths: Sequence[str]) -> tuple[str, ...]:
    """The paths of one content, those that lie where was looked first: the first one is what to show."""
    inside = _Inside(where.inside)
    return tuple(sorted(paths, key=lambda path: not inside(path)))


class _Inside:
    """Whether a path or address lies at or below one of some places; no places hold everything."""

    def __init__(self, places: Iterable[str]) -> None:
        places = [_plain(place) for place in places]
        self.all = not places
        self.exact = frozenset(places)
        self.below = tuple(place if place.endswith(("/", os.sep)) else place + _separator(place) for place in places)

    def __call__(self, path: str) -> bool:
        if self.all:
            return True
        # An index holds absolute paths, in which only the parents of a place that was given as ../x are left to do.
        path = os.path.normpath(path) if ".." in path and "://" not in path else path
        return path in self.exact or path.startswith(self.below)


def _plain(place: str) -> str:
    return place.rstrip("/") if "://" in place else os.path.normpath(as_absolute(place))


def _separator(place: str) -> str:
    return "/" if "://" in place else os.sep


def _fits(duration: float, least: float | None, most: float | None) -> bool:
    return (least is None or duration >= least) and (most is None or duration <= most)


def parse_duration(text: str) -> float:
    """Seconds from `30`, `90s`, `2m`, `1h30m` or `1:30`.

    Raises:
        ConfigError: it is no length of time.
    """
    word = text.strip()
    match = _CLOCK.fullmatch(word) or (_UNITS.fullmatch(word) if word else None)
    if match is None:
        raise ConfigError(f"{text!r} is no length of time: write 30 or 30s, 2m, 1h30m, or 1:30.")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def parse_date(text: str, now: float | None = None) -> float:
    """Seconds since 1970 of the beginning of what is named, in local time: a year, a month, a day, a time, or `7d` ago.

    Args:
        text: `2024`, `2024-05`, `2024-05-31`, `2024-05-31T18:00`, or an age: `12h`, `7d`, `2w`.
        now: from which ages count; None is the present.

    Raises:
        ConfigError: it is no date.
    """
    word = text.strip()
    if match := _AGO.fullmatch(word):
        return (time.time() if now is None else now) - float(match[1]) * _SECONDS_OF[match[2].lower()]
    try:
        if match := _DAY.fullmatch(word):
            return datetime(int(match[1]), int(match[2] or 1), int(match[3] or 1)).timestamp()
        # Python 3.10 does not know the Z of universal time.
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", word)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ConfigError(
            f"{text!r} is no date: write 2024, 2024-05 or 2024-05-31, or an age such as 12h, 7d or 2w."
        ) from None
