"""MSVD (Chen and Dolan, ACL 2011): 1,970 clips, about 41 English captions each, 1,200 / 100 / 670.

In the test split every caption is a query. Clips go by the id of a YouTube video with two seconds
(`-4wsuPCjDBc_5_15`) or by number (`vid1`); youtube_mapping.txt has both, in the order of the ids as bytes.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from tvrkit.errors import DataError
from tvrkit.prepare.benchmarks.collector import Collector, first_of, objects, stem
from tvrkit.prepare.benchmarks.item import Annotations
from tvrkit.prepare.benchmarks.plain_pickle import read_plain_pickle
from tvrkit.prepare.benchmarks.sources import AnnotationFiles, short
from tvrkit.prepare.report import many

SPLITS = {"official": "msvd"}
JSON = "captions_msvd.json"
PICKLES = ("raw-captions.pkl", "raw-captions_mapped.pkl")
TABLES = ("MSR Video Description Corpus.csv", "video_corpus.csv")
DESCRIPTIONS = "AllVideoDescriptions.txt"
HUB = {"train": "msvd_train.json", "val": "msvd_val.json", "test": "msvd_test.json"}
LISTS = {
    "train": ("train_list.txt", "train_list_mapping.txt"),
    "val": ("val_list.txt", "val_list_mapping.txt"),
    "test": ("test_list.txt", "test_list_mapping.txt"),
}
MAPPING = "youtube_mapping.txt"
CAPTION_FILES = (JSON, *PICKLES, *TABLES, DESCRIPTIONS)
ACCEPTED = (*CAPTION_FILES, *HUB.values(), *(name for names in LISTS.values() for name in names), MAPPING)
SIZES = {"train": 1200, "val": 100, "test": 670}
MAX_TOKENS = 1000  # of a caption; the longest real one has fewer than 100

Captions = dict[str, list[Any]]


def read(files: AnnotationFiles, split: str = "official") -> Annotations:
    """Read MSVD.

    Raises:
        DataError: there are no captions, or nothing tells the splits.
    """
    files.prefer = "msvd"
    found = Collector(files)
    path = files.find(*CAPTION_FILES)
    if path is None and all(files.find(name) for name in HUB.values()):
        _read_hub(found)
        return found.result(SPLITS[split])
    if path is None:
        files.need(*CAPTION_FILES, what="the captions of MSVD")
    assert path is not None
    captions = _read_captions(files, path)
    other_name = _other_names(files)
    lists = _lists(found, captions, other_name)
    for name, ids in lists.items():
        for where, video_id in ids:
            other = other_name.get(video_id)
            known = captions.get(video_id) or (captions.get(other) if other else None)
            found.add(where, name, video_id, known or [], names=(other,) if other else ())
    _tell_rest(found, path, captions, other_name)
    return found.result(SPLITS[split])


def _read_captions(files: AnnotationFiles, path: Path) -> Captions:
    """Captions by the ids of whatever file there is."""
    if path.suffix.lower() == ".csv":
        return _from_table(files, path)
    if path.suffix.lower() == ".txt":
        return _from_descriptions(files, path)
    if path.suffix.lower() == ".json":
        value = files.json(path)
    else:
        value = read_plain_pickle(path, files.bytes(path))
    if not isinstance(value, dict):
        raise DataError(f"{path} must hold captions by video, and holds {short(value)}: fetch it again.")
    captions: Captions = {}
    for key, rows in value.items():
        if (video_id := stem(key)) is None or not isinstance(rows, list | tuple):
            files.problem("bad row", path, f"{short(key)} is no video id, or its captions are no list")
        elif video_id in captions:
            files.problem("duplicate id", path, f"{video_id} stands there already; the first counts")
        else:
            captions[video_id] = [_joined(row) for row in rows[:MAX_TOKENS]]
    return captions


def _joined(row: Any) -> Any:
    """A caption of a text or of a list of words; anything else stays, and is named as no text later."""
    if isinstance(row, list | tuple) and len(row) <= MAX_TOKENS and all(isinstance(word, str) for word in row):
        return " ".join(row)
    return row


def _from_table(files: AnnotationFiles, path: Path) -> Captions:
    """VideoID, Start, End, …, Language, Description: the English rows."""
    captions: Captions = defaultdict(list)
    others = 0
    for _, row in files.rows(path, "videoid", "start", "end", "language", "description"):
        if row["language"].strip().lower() != "english":
            others += 1
        elif row["description"].strip():  # of many rows the corpus kept no text
            captions["_".join(row[name].strip() for name in ("videoid", "start", "end"))].append(row["description"])
    if others:
        files.notes.append(f"{path.name}: {many(others, 'description')} in other languages than English left out.")
    return captions


def _from_descriptions(files: AnnotationFiles, path: Path) -> Captions:
    """`ID caption` lines below an introduction, whose lines start with #."""
    captions: Captions = defaultdict(list)
    for line in files.lines(path):
        video_id, _, caption = line.partition(" ")
        if not line.startswith("#") and caption:
            captions[video_id].append(caption)
    return captions


def _other_names(files: AnnotationFiles) -> dict[str, str]:
    """From either name of a clip to the other; empty where there is no mapping."""
    path = files.find(MAPPING)
    other = {}
    for line in files.lines(path) if path else ():
        names = line.split()
        if len(names) == 2:
            other[names[0]], other[names[1]] = names[1], names[0]
        else:
            files.problem("bad row", path or MAPPING, f"{short(line)} has no two names")
    return other


def _lists(found: Collector, captions: Captions, other_name: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Where each id of a split stands, and the id: from the lists, or, as they follow from it, from the order."""
    files = found.files
    numbered = sum(video_id.startswith("vid") for video_id in captions) > len(captions) // 2
    paths = {split: files.find(*(names[::-1] if numbered else names)) for split, names in LISTS.items()}
    if all(paths.values()):
        return {split: _listed(files, path) for split, path in paths.items() if path is not None}
    if len(captions) != sum(SIZES.values()):
        missing = next(split for split, path in paths.items() if path is None)
        files.need(*LISTS[missing], what=f"the {missing} videos of MSVD")
    ids = sorted(captions, key=lambda v: (int(v[3:]), v) if numbered and v[3:].isdigit() else (0, v))
    found.notes.append("There are no lists of the splits; MSVD's go by the order of the ids: 1,200, 100 and 670.")
    lists, start = {}, 0
    for split, size in SIZES.items():
        lists[split] = [("order of ids", v) for v in ids[start : start + size]]
        start += size
    return lists


def _listed(files: AnnotationFiles, path: Path) -> list[tuple[str, str]]:
    return [(f"{path.name}, line {number}", stem(line) or line) for number, line in enumerate(files.lines(path), 1)]


def _read_hub(found: Collector) -> None:
    for split, name in HUB.items():
        path = found.files.need(name)
        for where, row in objects(found.files, path.name, found.files.json(path)):
            found.add(where, split, stem(first_of(row, "video_id", "video")), first_of(row, "caption", "captions"))


def _tell_rest(found: Collector, path: Path, captions: Captions, other_name: dict[str, str]) -> None:
    rest = [v for v in captions if v not in found.items and other_name.get(v) not in found.items]
    if rest:
        found.notes.append(f"{path.name} has {many(len(rest), 'video')} that no list names, first {rest[0]}: left out.")
