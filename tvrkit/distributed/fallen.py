"""When one process of several fails, the others fail for want of it: who of them says what.

What went wrong first is said once, by the process to which it happened. What happens to all of them alike (a setting
that is wrong, data that are not there) is said once, without a word of processes. What follows from another's end is
not said. They tell each other in torch's store, which is there when no collective works any more.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch.distributed as dist

from tvrkit.distributed.place import Place, launched

# Others that fail alike do so about now; those that go on learn of it by a collective that breaks.
_WAIT_SECONDS = 2.0

_GONE = re.compile(
    r"gloo|Connection (closed|reset) by peer|NCCL|Broken pipe|Connection refused|Socket Timeout|recvValue failed"
)


@dataclass(frozen=True)
class Fall:
    """How a process ends.

    Attributes:
        words: the sentence.
        code: exit code.
        lost: whether it merely follows from another's end.
    """

    words: str
    code: int
    lost: bool


def follows(error: BaseException) -> bool:
    """Whether `error` is what one sees when another process is gone."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, (RuntimeError, OSError)) and _GONE.search(str(error)) is not None


def fall(place: Place, store: dist.Store | None, mine: Fall) -> Fall:
    """Tell the others, and find out what is mine to say.

    Args:
        place: who I am.
        store: where all can read and write; None where they never met.
        mine: what happened to me.

    Returns:
        What to say (nothing, where another says it) and the exit code.
    """
    others = _others(place, store, mine) if store is not None else {}
    words = _words(place, others, mine)
    if words and store is not None and others is not None and not _may_speak(place, store):
        words = ""
    said = Fall(words, mine.code, mine.lost)
    _tell_launcher(said)
    return said


def _words(place: Place, others: dict[int, Fall] | None, mine: Fall) -> str:
    """What I would say, given how the others fell; None is a store that nobody can reach."""
    if not mine.lost:
        if others is not None and len(others) == place.size - 1 and all(other == mine for other in others.values()):
            return mine.words if place.rank == 0 else ""
        return f"rank {place.rank} of {place.size}: {mine.words}"
    if launched():
        return ""  # the launcher sees how the others ended
    if others is None:
        # The store went with rank 0. One of those that are left says so.
        lost = f"rank 1 of {place.size} lost rank 0, which ended without a word or says above why."
        return lost if place.rank == 1 else ""
    if any(not other.lost for other in others.values()):
        return ""
    return _wordless(place, set(others), mine)


def _others(place: Place, store: dist.Store, mine: Fall) -> dict[int, Fall] | None:
    """How the others fell, of those that do within a moment; None when the store is gone."""
    deadline = time.monotonic() + _WAIT_SECONDS
    waiting = set(range(place.size)) - {place.rank}
    fallen: dict[int, Fall] = {}
    try:
        store.set(f"fallen/{place.rank}", json.dumps(asdict(mine)))
        while waiting and time.monotonic() < deadline:
            for rank in sorted(waiting):
                if store.check([f"fallen/{rank}"]):
                    fallen[rank] = Fall(**json.loads(store.get(f"fallen/{rank}")))
                    waiting.discard(rank)
            if mine.lost and any(not fall.lost for fall in fallen.values()):
                break  # that is why
            time.sleep(0.02)
    except (dist.DistError, RuntimeError):
        return None
    return fallen


def _may_speak(place: Place, store: dist.Store) -> bool:
    """Whether nobody has spoken: the first to ask may."""
    try:
        return store.compare_set("speaker", "", str(place.rank)) == str(place.rank).encode()
    except (dist.DistError, RuntimeError):
        return True


def _wordless(place: Place, fallen: set[int], mine: Fall) -> str:
    """What to say of processes that left without a word."""
    missing = sorted(set(range(place.size)) - fallen - {place.rank})
    if not missing:
        return f"the {place.size} processes lost each other ({mine.words.rstrip('.')})."
    ranks = f"rank{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing))}"
    return (
        f"{ranks} of {place.size} ended without a word or cannot be reached (killed, perhaps for want of memory);"
        " `--resume` goes on from the last checkpoint."
    )


def _tell_launcher(how: Fall) -> None:
    """Leave the reason where torch's launcher looks for it."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return
    words = how.words or "ended because another process did"
    extra = {"py_callstack": words, "timestamp": str(int(time.time()))}
    message = {"message": words, "errorCode": how.code, "extraInfo": extra}
    try:
        Path(path).write_text(json.dumps({"message": message, "lost": how.lost}), encoding="utf-8")
    except OSError:
        pass
