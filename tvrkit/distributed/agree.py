"""An error of one process is an error of all: nobody waits for one that has given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tvrkit.distributed.team import Team
from tvrkit.errors import TvrkitError

T = TypeVar("T")


def agreed(team: Team, work: Callable[[], T]) -> T:
    """What `work` gives in this process, once it has succeeded in all of them. A collective.

    Args:
        team: the processes, each with work of its own.
        work: not a collective itself, at least not after the first thing in it that can fail in one process alone.

    Raises:
        TvrkitError: of this process's work or, in all of them, of the first process whose work raised one.
    """
    failure: TvrkitError | None = None
    try:
        result = work()
    except TvrkitError as error:
        failure = error
    for told in team.objects(failure):
        if told is not None:
            raise told
    return result
