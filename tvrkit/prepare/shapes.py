"""`tvrkit prepare shapes`: render the built-in benchmark, whose files and captions follow from a seed alone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tvrkit.errors import ConfigError, DataError
from tvrkit.files import write_json
from tvrkit.frames.request import VideoInfo
from tvrkit.manifest import MANIFEST_NAME
from tvrkit.prepare.assemble import Origin, assemble
from tvrkit.prepare.provenance import command_line
from tvrkit.prepare.report import PrepareReport
from tvrkit.prepare.shapes_events import EVENTS_VERSION, Clip, plan_clips
from tvrkit.prepare.shapes_pool import render_all
from tvrkit.prepare.shapes_render import FPS, FRAMES, RENDER_VERSION, SIDE, is_whole
from tvrkit.prepare.videos import Video
from tvrkit.reporting import Reporter, Silent

RECIPE_NAME = "shapes.json"
PRESET = "tiny"
KIND = "shapes"
PROTOCOL = "shapes"


def prepare_shapes(
    folder: Path,
    *,
    name: str = "shapes",
    seed: int = 0,
    scale: float = 1.0,
    workers: int = 2,
    watcher: Reporter | None = None,
) -> PrepareReport:
    """Render what is missing of the benchmark in `folder`, and write its manifest and report.

    The same seed, scale and library versions give byte-identical files, whatever the number of workers and however
    often the work was interrupted.

    Args:
        folder: where the data set lies or is to lie; its clips go to `videos/<split>/<video_id>.mp4`.
        name: of the data set, for its manifest.
        seed: decides meanings, captions and pixels, >= 0.
        scale: in (0, 1], multiplies the size of each split: 1 is 4,800 training, 300 val, 500 test and 400 hard clips.
        workers: processes that render; 0 and 1 render in this one.
        watcher: is told how it goes.

    Raises:
        ConfigError: a seed or scale out of range.
        DataError: the folder holds another data set, or cannot be written.
    """
    watcher = watcher or Silent()
    if not 0 < scale <= 1 or seed < 0:
        raise ConfigError(f"shapes needs 0 < scale <= 1 and seed >= 0, not {scale} and {seed}.")
    recipe = {"seed": seed, "scale": scale, "events": EVENTS_VERSION, "render": RENDER_VERSION}
    clips = plan_clips(seed, scale)
    paths = {clip.video_id: Path("videos", clip.split, f"{clip.video_id}.mp4") for clip in clips}
    try:
        _claim(folder, recipe)
        for split in {clip.split for clip in clips}:
            (folder / "videos" / split).mkdir(parents=True, exist_ok=True)
            _remove_torn(folder / "videos" / split)
        missing = [clip for clip in clips if not is_whole(folder / paths[clip.video_id])]
        if missing:
            jobs = [(folder / paths[clip.video_id], clip.meaning, clip.video_id) for clip in missing]
            with watcher.progress("Rendering clips", len(jobs)) as bar:
                render_all(jobs, seed, workers, bar.advance)
        origin = Origin(
            folder,
            name,
            KIND,
            command_line(KIND, name=name, seed=seed or None, scale=scale if scale != 1 else None),
            # Another seed or a part of it is another test set, whose numbers do not compare.
            PROTOCOL if (seed, scale) == (0, 1) else None,
            PRESET,
            recipe,
        )
        return assemble([_video(clip, folder / paths[clip.video_id]) for clip in clips], origin, new=len(missing))
    except OSError as error:
        raise DataError(f"cannot write to {error.filename or folder}: {error.strerror or error}.") from None


def _video(clip: Clip, path: Path) -> Video:
    tags = {"family": clip.family, "edit": clip.edit}
    return Video(
        video_id=clip.video_id,
        split=clip.split,
        captions=clip.captions,
        path=path,
        tags={key: value for key, value in tags.items() if value is not None},
        duration_seconds=FRAMES / FPS,
        info=VideoInfo(FRAMES / FPS, FRAMES, SIDE, SIDE, FPS, "h264", rotation=0),
    )


def _claim(folder: Path, recipe: dict[str, Any]) -> None:
    """Make the folder and note what it is to hold; refuse one that holds something else."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECIPE_NAME
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (folder / MANIFEST_NAME).exists():
            raise DataError(f"{folder} holds another data set: choose another name with --name.") from None
        write_json(path, recipe)
        return
    except ValueError:
        raise DataError(f"{path} is damaged: remove the folder {folder}, and run the same command again.") from None
    if known != recipe:
        words = ", ".join(f"{key} {value}" for key, value in known.items()) if isinstance(known, dict) else known
        raise DataError(
            f"{folder} holds shapes of other settings ({words}): choose another name with --name, or remove the folder."
        )


def _remove_torn(folder: Path) -> None:
    """Remove what an interrupted preparation left half written; one that runs beside this one keeps its own."""
    for temporary in folder.glob(".*.tmp"):
        try:
            if time.time() - temporary.stat().st_mtime > 60:
                temporary.unlink()
        except FileNotFoundError:
            pass
