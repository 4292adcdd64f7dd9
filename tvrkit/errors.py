"""Every error that tvrkit raises on purpose; each message is one sentence that says what, where and what to do.

TvrkitError
├── ConfigError              an option or a config key that does not exist or contradicts another
├── DataError                annotations, captions, manifests
├── VideoError               a file that yields no frame (carries `path` and `reason`)
│   └── VideoTimeoutError    its decoder hung or crashed
├── ModelError               a backbone or weights that cannot be had
│   ├── WeightsUnavailableError  they would have to be downloaded and cannot be
│   └── CheckpointError      a folder whose weights or config do not fit
├── StoreError               a feature store or an index that cannot be used
├── TrainingError            training that cannot go on (a loss that is no number)
│   └── StoppedError         training that was asked to stop, and saved (carries its exit code)
├── TeamError                one process of several that ends all of them (no words where another says them)
└── InstallError             a missing extra, or packages that do not work together
"""

from __future__ import annotations

from pathlib import Path


class TvrkitError(Exception):
    """Base of all of them; the command line prints the message and exits with `exit_code`."""

    exit_code = 1


class ConfigError(TvrkitError):
    """An option or a config key that does not exist, has the wrong type, or contradicts another."""

    exit_code = 2


class DataError(TvrkitError):
    """Annotations, captions or a manifest that cannot be used."""


class VideoError(TvrkitError):
    """A video file that yields no frame."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = str(path)
        self.reason = reason
        super().__init__(f"{path}: {reason}")

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return type(self), (self.path, self.reason)


class VideoTimeoutError(VideoError):
    """A video whose decoder did not answer in time, or died."""


class ModelError(TvrkitError):
    """A backbone or weights that cannot be had or do not fit."""


class WeightsUnavailableError(ModelError):
    """Weights that would have to be downloaded, and cannot be."""


class CheckpointError(ModelError):
    """A run or an exported folder whose weights or config do not fit this code."""


class StoreError(TvrkitError):
    """A feature store or an index that cannot be read or written."""


class TrainingError(TvrkitError):
    """Training that cannot go on."""


class StoppedError(TrainingError):
    """Training that a signal asked to stop; what it learned is saved."""

    def __init__(self, message: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(message)

    def __reduce__(self) -> tuple[type[StoppedError], tuple[str, int]]:
        return type(self), (str(self), self.exit_code)


class TeamError(TvrkitError):
    """The end of one process of several; its text is empty where another process says why."""

    def __init__(self, message: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(message)

    def __reduce__(self) -> tuple[type[TeamError], tuple[str, int]]:
        return type(self), (str(self), self.exit_code)


class InstallError(TvrkitError):
    """A missing extra, or installed packages that do not work together."""
