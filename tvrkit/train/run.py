"""A run's folder: what it is called, and the files that say what it is. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

import tvrkit
from tvrkit.config import Config, config_from_dict, config_to_yaml
from tvrkit.errors import CheckpointError, ConfigError, DataError
from tvrkit.files import write_json, write_text
from tvrkit.manifest import Manifest, Record
from tvrkit.workspace import RUN_FILE, runs_folder

CONFIG_FILE = "config.yaml"


def new_run(dataset: str, preset: str | None) -> Path:
    """A folder under `runs_folder()` that is not there yet: `<time>-<data set>-<preset or custom>`."""
    words = "-".join(re.sub(r"[^\w.]+", "_", word) for word in (dataset, preset or "custom"))
    path = runs_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-{words}"
    again = 1
    while path.exists():
        again += 1
        path = path.with_name(f"{path.name.partition('+')[0]}+{again}")
    return path


def has_checkpoint(run: Path) -> bool:
    """Whether a run has got somewhere; its checkpoint may be damaged."""
    checkpoints = run / "checkpoints"
    # A process that died while it wrote the first one leaves an unfinished folder, which nothing can go on from.
    return checkpoints.is_dir() and any(not path.name.endswith(".tmp") for path in checkpoints.iterdir())


def check_free(run: Path) -> None:
    """Make sure that a new run would not write over another.

    Raises:
        ConfigError: there is a run in the folder already that has got somewhere.
    """
    if has_checkpoint(run):
        raise ConfigError(
            f"there is a run in {run}: go on with it by `tvrkit train --resume {run}`, or choose another --out."
        )


def start_run(run: Path, config: Config, manifest: Manifest, source: Path) -> None:
    """Write config.yaml, with the data set named for good, and run.json."""
    config = replace(config, data=replace(config.data, dataset=str(source.resolve())))
    run.mkdir(parents=True, exist_ok=True)
    text = config_to_yaml(config)
    write_text(run / CONFIG_FILE, text)
    write_json(
        run / RUN_FILE,
        {
            "name": run.name,
            "dataset": manifest.name,
            "manifest": str(source.resolve()),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "config_digest": _digest(text),
            "data_digest": data_digest(manifest.split(config.data.train_split)),
            "tvrkit": tvrkit.__version__,
        },
    )


def read_run(run: Path) -> dict[str, Any]:
    """run.json of a run.

    Raises:
        CheckpointError: it is not there or is damaged.
    """
    try:
        info = json.loads((run / RUN_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{run} is no run: it has no {RUN_FILE}.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run / RUN_FILE} cannot be read ({error}).") from None
    if not isinstance(info, dict) or not {"dataset", "manifest"} <= set(info):
        raise CheckpointError(f"{run / RUN_FILE} does not say what the run was trained on.")
    return info


def read_run_config(run: Path) -> Config:
    """The config that a run was started with.

    Raises:
        CheckpointError: it is not there or is damaged.
    """
    path = run / CONFIG_FILE
    try:
        return config_from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CheckpointError(f"{run} is no run: it has no {CONFIG_FILE}.") from None
    except (OSError, ValueError, yaml.YAMLError, ConfigError) as error:
        raise CheckpointError(f"{path} cannot be used: {' '.join(str(error).split())}") from None


def check_same_data(run: Path, records: Sequence[Record]) -> None:
    """Make sure that a run goes on with the training data that it was started with.

    Raises:
        DataError: they have changed.
    """
    if read_run(run).get("data_digest") != data_digest(records):
        raise DataError(
            f"the training data have changed since {run} was started, so it cannot go on as it would have:"
            " start a new run."
        )


def has_other_settings(run: Path) -> bool:
    """Whether a run's config.yaml is no longer what it was started with."""
    try:
        text = (run / CONFIG_FILE).read_text(encoding="utf-8")
    except OSError:
        return False
    return _digest(text) != read_run(run).get("config_digest", _digest(text))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def data_digest(records: Sequence[Record]) -> str:
    """What tells one training split from another: its videos, spans and captions, in order."""
    digest = hashlib.sha256()
    for record in records:
        row = [record.video_id, record.path, record.start_seconds, record.end_seconds, *record.captions]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()[:16]
