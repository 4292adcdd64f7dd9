"""The process that reads videos: jobs come in on its standard input, frames go out on its standard output.

It ends when its input does, whatever it is doing then: no worker outlives the process that started it.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tvrkit.errors import TvrkitError
from tvrkit.frames.clip_request import ClipRequest
from tvrkit.frames.moment_request import MomentRequest
from tvrkit.frames.request import CopyRequest, FrameRequest
from tvrkit.frames.wire import receive, send

if TYPE_CHECKING:
    from tvrkit.frames.preprocess import Transform


def main() -> None:
    """Serve one parent until it closes the pipe.

    Messages in: first the pickled transform (bytes, or None), then for each job a request with its settings.
    Messages out: None once the transform is there or a text that says why not; then for each job what became of it, or
    the TvrkitError that makes going on senseless.
    """
    # Ctrl-C reaches every process of the terminal, and a scheduler's request every process of the job; only the parent
    # decides what they mean. A reader that died of one would make its video look broken.
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):  # the last is not on Windows
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # The answers get a file of their own: what libraries print must not get between them.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()
    try:
        pickled = inbox.get()
        # Safe: the parent process made it, from a transform of its own.
        transform = None if pickled is None else pickle.loads(pickled)
        jobs = _jobs(transform)
    except Exception as error:
        send(out, f"{type(error).__name__}: {error}")
        return
    send(out, None)
    while True:
        request, *settings = inbox.get()
        try:
            answer: object = jobs[type(request)](request, *settings)
        except TvrkitError as error:
            answer = error
        try:
            send(out, answer)
        except OSError:
            return


def _jobs(transform: Transform | None) -> dict[type, Callable[..., object]]:
    """What is done with each kind of request."""
    from tvrkit.frames.clip import make_clip
    from tvrkit.frames.decode import decode
    from tvrkit.frames.held_moments import HeldMoments
    from tvrkit.frames.transcode import make_copy

    return {
        FrameRequest: partial(decode, transform=transform),
        CopyRequest: make_copy,
        ClipRequest: make_clip,
        MomentRequest: HeldMoments(transform).read,
    }


def _listen(inbox: queue.SimpleQueue[Any]) -> None:
    # A thread of its own, because the main one may be stuck in a decoder when the parent dies.
    while True:
        try:
            inbox.put(receive(sys.stdin.buffer))
        except (EOFError, OSError):
            os._exit(0)
