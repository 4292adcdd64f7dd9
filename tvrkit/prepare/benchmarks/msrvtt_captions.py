"""Every layout in which MSR-VTT's captions are passed on -> captions and category by video."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvrkit.errors import DataError
from tvrkit.prepare.benchmarks.collector import first_of, objects, stem
from tvrkit.prepare.benchmarks.sources import AnnotationFiles, short

# All 20 captions of all videos; the official release comes in two files.
WHOLE = ("MSRVTT_data.json", "MSRVTT_v2.json", "MSR_VTT.json", "videodatainfo_2017_ustc.json")
OFFICIAL_FILES = ("train_val_videodatainfo.json", "test_videodatainfo.json")
# Captions of a part of them.
TEST_CAPTIONS = "msrvtt_caption_test_2990x20.json"
VAL_CAPTIONS = "sgn_val_497x20.json"
ONE_CAPTION = "unique_descs_ret_train.json"
HUB_TRAIN = {"9k": "msrvtt_train_9k.json", "7k": "msrvtt_train_7k.json"}
CATEGORY_NAMES = "category.txt"
# By number, as the data set's own category.txt has them.
CATEGORIES = (
    "music, people, gaming, sports/actions, news/events/politics, education, tv shows, movie/comedy, animation,"
    " vehicles/autos, howto, travel, science/technology, animals/pets, kids/family, documentary, food/drink, cooking,"
    " beauty/fashion, advertisement"
).split(", ")


@dataclass
class Captions:
    """Captions by video id, in the files' order, with what else is told of the videos."""

    by_id: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    categories: dict[str, str] = field(default_factory=dict)
    official_split: dict[str, str] = field(default_factory=dict)
    source: str = ""

    def of(self, video_id: str) -> list[Any]:
        """The captions of a video, maybe none."""
        return self.by_id.get(video_id, [])

    def tags(self, video_id: str) -> dict[str, str]:
        """The tags of a video."""
        return {"category": self.categories[video_id]} if video_id in self.categories else {}


def all_captions(files: AnnotationFiles) -> Captions | None:
    """The 200,000 captions from MSRVTT_data.json or a file of its layout; None where there is none."""
    path = files.find(*WHOLE)
    paths = [path] if path else [found for name in OFFICIAL_FILES if (found := files.find(name))]
    if not paths:
        return None
    captions = Captions(source=" and ".join(path.name for path in paths))
    names = _category_names(files)
    for path in paths:
        _read_whole(files, path, names, captions)
    return captions


def _read_whole(files: AnnotationFiles, path: Path, names: list[str], captions: Captions) -> None:
    value = files.json(path)
    sentences = first_of(value, "sentences", "annotations") if isinstance(value, dict) else None
    if sentences is None:
        raise DataError(
            f"{path} must hold an object with the lists `videos` and `sentences`, and holds {short(value)}: it is not"
            " the file of that name that is meant, or is damaged."
        )
    for where, row in objects(files, f"{path.name}: sentences", sentences):
        video_id = stem(first_of(row, "video_id", "image_id"))
        if video_id is None:
            files.problem("bad row", where, "names no video")
        else:
            captions.by_id[video_id].append(row.get("caption"))
    videos = first_of(value, "videos", "images")
    for where, row in objects(files, f"{path.name}: videos", videos if videos is not None else []):
        video_id = stem(first_of(row, "video_id", "id"))
        if video_id is None:
            files.problem("bad row", where, "names no video")
            continue
        number = row.get("category")
        if isinstance(number, int) and 0 <= number < len(names):
            captions.categories[video_id] = names[number]
        if isinstance(row.get("split"), str):
            captions.official_split[video_id] = {"validate": "val"}.get(row["split"], row["split"])


def _category_names(files: AnnotationFiles) -> list[str]:
    """The names of the categories from category.txt (`music<TAB>0`), or as they are published."""
    path = files.find(CATEGORY_NAMES)
    if path is None:
        return CATEGORIES
    numbered = {}
    for line in files.lines(path):
        name, _, number = line.replace("\t", " ").rpartition(" ")
        if number.isdigit() and name.strip():
            numbered[int(number)] = name.strip()
    whole = sorted(numbered) == list(range(len(CATEGORIES)))
    return [numbered[i] for i in sorted(numbered)] if whole else CATEGORIES


def listed_captions(files: AnnotationFiles, *names: str) -> Captions:
    """Captions from lists of `{video, caption}` objects, as the hub and others have them, or `{video: {id: caption}}`.

    A name for which there is no file adds nothing.
    """
    paths = [path for name in names if (path := files.find(name))]
    captions = Captions(source=" and ".join(path.name for path in paths))
    for path in paths:
        value = files.json(path)
        if isinstance(value, dict):
            value = [{"video": key, "caption": rows} for key, rows in value.items()]
        for where, row in objects(files, path.name, value):
            video_id = stem(first_of(row, "video_id", "video", "image_id"))
            texts = first_of(row, "caption", "captions", "desc", "sentences")
            texts = list(texts.values()) if isinstance(texts, dict) else [texts] if isinstance(texts, str) else texts
            if video_id is None or not isinstance(texts, list):
                files.problem("bad row", where, "names no video, or has no captions")
            elif video_id in captions.by_id:
                files.problem("duplicate id", where, f"{video_id} stands there already; the first counts")
            else:
                captions.by_id[video_id] = texts
    return captions
