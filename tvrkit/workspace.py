"""Where things lie: prepared data sets in ./data, runs in ./runs, caches in the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from tvrkit.errors import DataError
from tvrkit.files import whole_folder
from tvrkit.manifest import MANIFEST_NAME

RUN_FILE = "run.json"


def data_folder() -> Path:
    """`$TVRKIT_DATA`, or ./data."""
    return Path(os.environ.get("TVRKIT_DATA", "data"))


def runs_folder() -> Path:
    """`$TVRKIT_RUNS`, or ./runs."""
    return Path(os.environ.get("TVRKIT_RUNS", "runs"))


def cache_folder() -> Path:
    """`$TVRKIT_CACHE`, or `$XDG_CACHE_HOME/tvrkit`, or ~/.cache/tvrkit."""
    if chosen := os.environ.get("TVRKIT_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tvrkit"


def prepared_sets() -> list[str]:
    """Names of the data sets prepared under `data_folder()`, sorted."""
    folder = data_folder()
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if (entry / MANIFEST_NAME).is_file())


def manifest_path(name: str | None = None) -> Path:
    """The manifest of a prepared data set: by name, by the path of a folder or file, or the only one there is.

    Raises:
        DataError: nothing is prepared, several are and none is named, or the named one is not there.
    """
    if name is not None:
        for candidate in (data_folder() / name / MANIFEST_NAME, Path(name) / MANIFEST_NAME, Path(name)):
            if candidate.is_file():
                return candidate
        known = ", ".join(prepared_sets()) or "none"
        raise DataError(
            f"no prepared data set {name!r} in {data_folder()} (prepared there: {known}): run `tvrkit prepare {name}`."
        )
    names = prepared_sets()
    if not names:
        raise DataError(
            f"no data set is prepared in {data_folder()}:"
            " run `tvrkit prepare shapes` (built in) or `tvrkit prepare --help`."
        )
    if len(names) > 1:
        raise DataError(
            f"{len(names)} data sets are prepared in {data_folder()} ({', '.join(names)}):"
            f" choose one with `--data {names[0]}`."
        )
    return data_folder() / names[0] / MANIFEST_NAME


def runs(*, unfinished: bool = False) -> list[Path]:
    """Runs under `runs_folder()` that have a model, oldest first by the time at which they were started.

    Args:
        unfinished: those that have no model yet as well.
    """
    folder = runs_folder()
    if not folder.is_dir():
        return []
    found = [
        entry
        for entry in folder.iterdir()
        if (entry / RUN_FILE).is_file() and (unfinished or whole_folder(entry / "checkpoints" / "best").is_dir())
    ]
    return sorted(found, key=lambda run: ((run / RUN_FILE).stat().st_mtime_ns, run.name))
