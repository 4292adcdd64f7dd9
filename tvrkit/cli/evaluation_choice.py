"""Which models `tvrkit eval` measures, and on which data set, where the command line leaves that open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tvrkit.errors import ConfigError, DataError
from tvrkit.manifest import Manifest, read_manifest


def choose(runs: Sequence[str], models: Sequence[str], data: str | None) -> tuple[list[tuple[str, Path | None]], Path]:
    """The models, each with the run or exported folder that it is if it is one, and the manifest.

    Args:
        runs: RUN arguments; without them and models the newest run.
        models: of --model.
        data: of --data.

    Raises:
        ConfigError: there is no such run, or they were trained on different data sets and none is named.
    """
    chosen = _choose_models(runs, models)
    return chosen, _choose_data(data, chosen)


def require_manifest(path: Path, split: str, bank: str | None, *, allow_missing: bool) -> Manifest:
    """The data set, refused where it cannot be measured, before anything costs time.

    Args:
        path: of the manifest.
        split: what is measured.
        bank: the split that queries of a bank come from, if one is wanted.
        allow_missing: whether the split may be less than its protocol's.

    Raises:
        ConfigError: the bank is what is measured.
        DataError: there is no such split, or it is not whole.
    """
    from tvrkit.evaluate import require_whole

    manifest = read_manifest(path)
    manifest.split(split)
    if not allow_missing:
        require_whole(manifest, split)
    if bank is not None and split == bank:
        raise ConfigError(
            f"--query-bank takes captions of {bank!r}, which is what is measured: choose another --split."
        )
    if bank is not None and bank not in manifest.splits():
        raise DataError(f"--query-bank takes training captions, and {manifest.name} has no split {bank!r}.")
    return manifest


def _choose_models(runs: Sequence[str], models: Sequence[str]) -> list[tuple[str, Path | None]]:
    """What to load, and the run or exported folder that it is, if it is one."""
    from tvrkit.workspace import runs as runs_there
    from tvrkit.workspace import runs_folder

    if models:
        from tvrkit.core.zero_shot import is_open_clip_folder

        # A backbone as it is published was not trained here, and is its own baseline.
        folders = [Path(model) if Path(model).is_dir() and not is_open_clip_folder(model) else None for model in models]
        return list(zip(models, folders, strict=True))
    chosen: list[tuple[str, Path | None]] = []
    for run in runs:
        folder = next((path for path in (Path(run), runs_folder() / run) if path.is_dir()), None)
        if folder is None:
            raise ConfigError(f"there is no run {run!r}, neither here nor in {runs_folder()}.")
        chosen.append((str(folder), folder))
    if chosen:
        return chosen
    there = runs_there()
    if not there:
        raise ConfigError(
            f"there is no run in {runs_folder()}: train one with `tvrkit train`, or name a model with --model."
        )
    return [(str(there[-1]), there[-1])]


def _choose_data(data: str | None, chosen: Sequence[tuple[str, Path | None]]) -> Path:
    """The manifest: the one named, else the one that the runs were trained on, else the only one prepared."""
    from tvrkit.train.run import read_run
    from tvrkit.workspace import RUN_FILE, manifest_path

    if data is not None:
        return manifest_path(data)
    found: dict[Path, str] = {}
    for source, folder in chosen:
        if folder is not None and (folder / RUN_FILE).is_file():
            info = read_run(folder)
            there = Path(str(info["manifest"]))
            # A project folder may have moved since, with its data.
            path = there if there.is_file() else manifest_path(str(info["dataset"]))
            found.setdefault(path.resolve(), f"{source} on {info['dataset']}")
    if len(found) > 1:
        raise ConfigError(
            f"these runs were trained on different data sets ({', '.join(found.values())}):"
            " name the one to measure all of them on with --data."
        )
    return next(iter(found), None) or manifest_path(None)
