"""ActivityNet Captions (Krishna et al., ICCV 2017): a video's sentences, in the file's order, are one paragraph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvrkit.errors import DataError
from tvrkit.prepare.benchmarks.collector import Collector, first_of, objects, plain_id, stem
from tvrkit.prepare.benchmarks.item import Annotations
from tvrkit.prepare.benchmarks.sources import AnnotationFiles, short
from tvrkit.prepare.report import many

SPLITS = {"val_1": "activitynet", "val_2": "activitynet-val2"}
FILES = {
    "train": ("train.json", "activitynet_captions_train.json"),
    "val_1": ("val_1.json", "activitynet_captions_val1.json"),
    "val_2": ("val_2.json", "activitynet_captions_val2.json"),
}
ID_LISTS = {
    "train": ("train_list.txt", "train_ids.json"),
    "val_1": ("val_1_list.txt", "val_ids.json"),
    "val_2": ("val_2_list.txt", "val_ids.json"),
}
ACCEPTED = tuple(dict.fromkeys(name for names in (*FILES.values(), *ID_LISTS.values()) for name in names))


def read(files: AnnotationFiles, split: str) -> Annotations:
    """Read ActivityNet Captions; `split` is the file that is tested on, `val_1` or `val_2`.

    Raises:
        DataError: that file is missing or damaged.
    """
    files.prefer = "activitynet"
    found = Collector(files)
    test = files.need(*FILES[split], what="the test videos of ActivityNet Captions")
    _read_file(found, test, "test", ID_LISTS[split])
    train = files.find(*FILES["train"])
    if train is None:
        found.notes.append(f"There is no {' or '.join(FILES['train'])}, so there are no train videos.")
    else:
        _read_file(found, train, "train", ID_LISTS["train"])
    return found.result(SPLITS[split])


def _read_file(found: Collector, path: Path, split: str, lists: tuple[str, ...]) -> None:
    files = found.files
    described: dict[str, None] = {}
    early = 0
    for where, name, row in _videos(files, path):
        sentences = first_of(row, "sentences", "caption")
        sentences = [sentences] if isinstance(sentences, str) else sentences
        if not isinstance(sentences, list) or not all(isinstance(s, str) for s in sentences):
            files.problem("bad row", where, f"the sentences of {short(name)} are no list of texts")
            continue
        video_id = plain_id(name)
        if video_id is not None:
            described[video_id] = None
        early += _out_of_order(row.get("timestamps"))
        # Each sentence starts with a space in the file, or not: one space between two.
        paragraph = " ".join(s.strip() for s in sentences if s.strip())
        found.add(where, split, video_id, paragraph, names=_names(video_id))
    if early:
        found.notes.append(
            f"{path.name}: the sentences of {many(early, 'video')} are not in the order of their times; they are joined"
            " in the file's order, as published results do."
        )
    _tell_differences(found, path, described, lists)


def _videos(files: AnnotationFiles, path: Path) -> list[tuple[str, Any, dict[str, Any]]]:
    """Where each video stands, its name and its object: the original's by id, or the hub's in a list."""
    value = files.json(path)
    if isinstance(value, list):
        rows = objects(files, path.name, value)
        return [(where, stem(first_of(row, "video_id", "video")), row) for where, row in rows]
    if not isinstance(value, dict):
        raise DataError(f"{path} must hold videos by id, and holds {short(value)}: fetch it again.")
    found = []
    for name, row in value.items():
        if isinstance(row, dict):
            found.append((f"{path.name}, {name[:40]}", name, row))
        else:
            files.problem("bad row", path, f"{short(name)} holds {short(row)} and no object")
    return found


def _out_of_order(times: Any) -> bool:
    try:
        starts = [float(time[0]) for time in times]
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        return False
    return starts != sorted(starts)


def _names(video_id: str | None) -> tuple[str, ...]:
    """Without the `v_` that the annotations put before the YouTube id, as some downloads are called."""
    return (video_id[2:],) if video_id and video_id.startswith("v_") else ()


def _tell_differences(found: Collector, path: Path, described: dict[str, None], lists: tuple[str, ...]) -> None:
    """A sentence for each id list that does not name the very videos that the file describes."""
    files = found.files
    for name in lists:
        list_path = files.find(name)
        if list_path is None or list_path.parent != path.parent:
            continue
        value = files.json(list_path) if list_path.suffix.lower() == ".json" else files.lines(list_path)
        listed = {v for item in value if (v := stem(item))} if isinstance(value, list) else set()
        for number, one, other in (
            (len(listed - described.keys()), list_path.name, path.name),
            (len(described.keys() - listed), path.name, list_path.name),
        ):
            if number:
                found.notes.append(
                    f"{one} has {many(number, 'video')} that {other} has not; {path.name} is what counts."
                )
