"""The parent's side of one process that reads videos: start it, ask it, kill it when it takes too long, start it again.

A plain subprocess and two pipes. Neither threads nor CUDA in the parent matter to it, the parent's script is not
imported again (as multiprocessing's forkserver and spawn do), and nothing is left behind to be tracked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

from tvrkit.errors import InstallError, TvrkitError, VideoTimeoutError
from tvrkit.frames.clip_request import ClipRequest, Cut
from tvrkit.frames.moment_request import CutPart, MomentRequest, failed
from tvrkit.frames.request import Copied, CopyRequest, Decoded, FrameRequest, time_limit_error
from tvrkit.frames.wire import receive, send

# Importing torch from a slow disk takes a while; a start that takes longer than this will never end.
_START_SECONDS = 300.0

# The child watches the time limit as well, and its own answer is better than a kill: it need not start again.
_GRACE_SECONDS = 2.0

_BURIAL_SECONDS = 10.0

# What its libraries print is kept for the case that it cannot start, not for ever.
_MOST_WORDS = 1 << 20

_CODE = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from tvrkit.frames.worker import main; main()"

# Many processes decode side by side: one thread each.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class _Died(Exception):
    """The process is gone; `late` when it was killed for taking too long."""

    def __init__(self, late: bool) -> None:
        self.late = late


class Child:
    """A process that decodes, cuts or copies one video at a time; to be used by one thread, and stopped by any."""

    def __init__(self, pickled_transform: bytes | None = None) -> None:
        self._transform = pickled_transform
        self._process: subprocess.Popen[bytes] | None = None
        self._words: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Process id; None before the first job."""
        return self._process.pid if self._process else None

    def decode(self, request: FrameRequest, reader: str, timeout_seconds: float) -> Decoded:
        """Let the process decode one video; when it takes too long or dies, that is the video's error.

        Raises:
            InstallError: the process cannot be started.
            TvrkitError: what the process raised.
        """
        try:
            return self._answer((request, reader, timeout_seconds), request.path, timeout_seconds)
        except VideoTimeoutError as error:
            return Decoded(request, error=error)

    def copy(self, request: CopyRequest, timeout_seconds: float) -> Copied:
        """Let the process make a small copy of one video; when it takes too long or dies, that is the video's error.

        A process that was killed leaves a temporary file beside the destination.

        Raises:
            InstallError: the process cannot be started.
            TvrkitError: what the process raised.
        """
        try:
            return self._answer((request, timeout_seconds), request.path, timeout_seconds)
        except VideoTimeoutError as error:
            return Copied(request, error=error)

    def cut(self, request: MomentRequest, reader: str, timeout_seconds: float) -> CutPart:
        """Let the process read the next moments of one video; when it takes too long or dies, that is its error.

        Raises:
            InstallError: the process cannot be started.
            TvrkitError: what the process raised.
        """
        try:
            return self._answer((request, reader, timeout_seconds), request.path, timeout_seconds)
        except VideoTimeoutError as error:
            return failed(request, error)

    def clip(self, request: ClipRequest, timeout_seconds: float) -> Cut:
        """Let the process write a span of a video as a file of its own.

        A process that was killed leaves a temporary file beside the destination.

        Raises:
            VideoTimeoutError: it took too long, or died.
            InstallError: the process cannot be started.
            TvrkitError: what the process raised.
        """
        answer: Cut = self._answer((request, timeout_seconds), request.path, timeout_seconds)
        return answer

    def stop(self) -> None:
        """Kill the process; it does not start again."""
        self._stopped = True
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Stop, and let go of the pipes; by the thread that uses it, or after that has ended."""
        self.stop()
        self._end()

    def _answer(self, job: tuple[Any, ...], path: str, timeout_seconds: float) -> Any:
        """What the process says to a job.

        Raises:
            VideoTimeoutError: it took too long, or died.
            TvrkitError: what the process raised.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        try:
            answer = self._ask(job, timeout_seconds + _GRACE_SECONDS)
        except _Died as death:
            how = self._end()
            if death.late:
                raise time_limit_error(path, timeout_seconds) from None
            raise VideoTimeoutError(path, f"made its decoder crash ({how})") from None
        if isinstance(answer, TvrkitError):
            raise answer
        return answer

    def _start(self) -> None:
        self._end()
        environment = {**os.environ, **_ONE_THREAD}
        path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
        self._words = tempfile.TemporaryFile()
        try:
            with self._lock:
                if self._stopped:
                    raise InstallError("this pool of decoding processes was closed.")
                self._process = subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-c", _CODE, path],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._words,
                    env=environment,
                )
            failure = self._ask(self._transform, _START_SECONDS)
        except (_Died, OSError) as error:
            late = isinstance(error, _Died) and error.late
            words = self._last_words()
            how = self._end() or str(error)
            failure = (f"not ready after {_START_SECONDS:g} s" if late else how) + words
        if failure is not None:
            self._end()
            raise InstallError(
                f"a decoding process cannot be started ({failure}): run `tvrkit doctor`, or read in this process"
                " with `--workers 0`."
            )

    def _ask(self, message: Any, limit_seconds: float) -> Any:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(limit_seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            send(process.stdin, message)
            return receive(process.stdout)
        except (EOFError, OSError):
            raise _Died(late.is_set()) from None
        finally:
            timer.cancel()
            self._forget_words()

    def _end(self) -> str:
        """Kill and bury the process; how it ended."""
        process, self._process = self._process, None
        if self._words is not None:
            self._words.close()
            self._words = None
        if process is None:
            return ""
        process.kill()
        try:
            code = process.wait(_BURIAL_SECONDS)
        except subprocess.TimeoutExpired:  # stuck in the kernel (a dead network drive): it is left behind
            code = -int(signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # what was not written cannot be flushed any more
                pass
        try:
            return signal.Signals(-code).name if code < 0 else f"exit code {code}"
        except ValueError:
            return f"signal {-code}"

    def _last_words(self) -> str:
        if self._words is None:
            return ""
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def _forget_words(self) -> None:
        words = self._words
        if words is not None and os.fstat(words.fileno()).st_size > _MOST_WORDS:
            words.truncate(0)
            words.seek(0)  # the child writes at the same offset: one open file, two processes
