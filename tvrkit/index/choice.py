"""Which model answers when none is named, and whether it knows anything but shapes. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

from tvrkit.files import whole_folder
from tvrkit.manifest import MANIFEST_NAME
from tvrkit.workspace import RUN_FILE, runs

SHAPES = "shapes"


def newest_run() -> Path | None:
    """The newest run that has a checkpoint and was not trained on the shapes, which know no real video."""
    for run in reversed(runs()):
        dataset = dataset_of(run)
        if dataset is not None and dataset != SHAPES and whole_folder(run / "checkpoints" / "best").is_dir():
            return run
    return None


def dataset_of(run: Path) -> str | None:
    """Name of the data set that a run was trained on; None when its run.json cannot be read."""
    try:
        dataset = json.loads((run / RUN_FILE).read_text(encoding="utf-8"))["dataset"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dataset if isinstance(dataset, str) else None


def are_shapes(place: Path) -> bool:
    """Whether a folder of videos is, or lies in, the data set `shapes`."""
    folder = place.absolute()
    for parent in (folder, *folder.parents):
        manifest = parent / MANIFEST_NAME
        if manifest.is_file():
            try:
                with manifest.open(encoding="utf-8") as file:
                    header = json.loads(file.readline())
            except (OSError, ValueError):
                return False
            return isinstance(header, dict) and header.get("name") == SHAPES
    return False
