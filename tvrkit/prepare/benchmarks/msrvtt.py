"""MSR-VTT (Xu et al., CVPR 2016): 10,000 videos of 20 captions each, under three protocols.

`9k` and `7k` test on the 1,000 pairs of the 1k-A list, one caption a video, and train on the 9,000 other videos or
on the 7,010 that are not in the official test set. `full` is the official split: 6,513 / 497 / 2,990.
"""

from __future__ import annotations

import re
from typing import Any

from tvrkit.errors import DataError
from tvrkit.prepare.benchmarks.collector import Collector, first_of, objects, stem
from tvrkit.prepare.benchmarks.item import Annotations
from tvrkit.prepare.benchmarks.msrvtt_captions import (
    CATEGORY_NAMES,
    HUB_TRAIN,
    OFFICIAL_FILES,
    ONE_CAPTION,
    TEST_CAPTIONS,
    VAL_CAPTIONS,
    WHOLE,
    Captions,
    all_captions,
    listed_captions,
)
from tvrkit.prepare.benchmarks.sources import AnnotationFiles, short
from tvrkit.prepare.report import many

SPLITS = {"9k": "msrvtt-1ka", "7k": "msrvtt-7k", "full": "msrvtt-full"}
TEST_PAIRS = ("MSRVTT_JSFUSION_test.csv", "msrvtt_test_1k.json", "descs_ret_test.json")
TRAIN_LISTS = {"9k": "MSRVTT_train.9k.csv", "7k": "MSRVTT_train.7k.csv"}
CAPTION_FILES = (*WHOLE, *OFFICIAL_FILES, *HUB_TRAIN.values(), TEST_CAPTIONS, VAL_CAPTIONS, ONE_CAPTION)
ACCEPTED = (*TEST_PAIRS, *TRAIN_LISTS.values(), *CAPTION_FILES, CATEGORY_NAMES)
CAPTIONS_OF_A_VIDEO = 20
NUM_VIDEOS = 10_000
# The official split goes by number: video0 to video6512 is train, and so on.
OFFICIAL = {"train": range(6513), "val": range(6513, 7010), "test": range(7010, NUM_VIDEOS)}
PARTS = {"7k": range(7010), "9k": range(NUM_VIDEOS)}


def read(files: AnnotationFiles, split: str) -> Annotations:
    """Read MSR-VTT.

    Args:
        files: where its files are.
        split: `9k`, `7k` or `full`.

    Raises:
        DataError: a file that cannot be done without is missing or damaged.
    """
    files.prefer = "msrvtt"
    found = Collector(files)
    captions = all_captions(files)
    if split == "full":
        _read_full(found, captions)
    else:
        _read_pairs(found, captions)
        _read_train(found, split, captions)
    return found.result(SPLITS[split])


def _read_pairs(found: Collector, captions: Captions | None) -> None:
    """The 1,000 test pairs; the caption of each is the list's own, not always one of the video's 20."""
    files = found.files
    path = files.need(*TEST_PAIRS, what="the 1,000 test pairs of 1k-A")
    if path.suffix.lower() == ".csv":
        pairs = [(where, row["video_id"], row["sentence"]) for where, row in files.rows(path, "video_id", "sentence")]
    else:
        rows = objects(files, path.name, files.json(path))
        pairs = [(where, first_of(row, "video_id", "video"), first_of(row, "caption", "desc")) for where, row in rows]
    for where, name, caption in pairs:
        if (video_id := _video(files, where, name)) is not None:
            found.add(where, "test", video_id, caption, tags=captions.tags(video_id) if captions else None)


def _read_train(found: Collector, split: str, captions: Captions | None) -> None:
    files = found.files
    if captions is None:
        captions = listed_captions(files, HUB_TRAIN[split])
    if not captions.by_id:
        captions = listed_captions(files, ONE_CAPTION)
        if not captions.by_id:
            raise DataError(
                f"there are no training captions of MSR-VTT in {', '.join(map(str, files.folders))}: put one of"
                f" {', '.join((*WHOLE[:3], HUB_TRAIN[split], ONE_CAPTION))} there, or name its folder with"
                " --annotations (docs/benchmarks.md tells where each file comes from)."
            )
    ids = _train_ids(found, split, captions)
    for video_id in ids:
        found.add(
            f"{captions.source}, {video_id}", "train", video_id, captions.of(video_id), tags=captions.tags(video_id)
        )
    _tell_few(found, captions)


def _train_ids(found: Collector, split: str, captions: Captions) -> list[str]:
    """From the list, or, since both lists follow from the official numbers, without it."""
    files = found.files
    path = files.find(TRAIN_LISTS[split])
    if path is not None:
        rows = files.rows(path, "video_id")
        return [video_id for where, row in rows if (video_id := _video(files, where, row["video_id"]))]
    found.notes.append(
        f"There is no {TRAIN_LISTS[split]}; the training videos are"
        + (" all that are not in the test list." if split == "9k" else " video0 to video7009, which is what it lists.")
    )
    return [v for v in captions.by_id if _number(v) in PARTS[split] and v not in found.items]


def _video(files: AnnotationFiles, where: str, name: Any) -> str | None:
    """The id of an MSR-VTT video; anything else is a problem."""
    video_id = stem(name)
    if video_id is None or _number(video_id) < 0:
        reason = f"{short(name)} is none of MSR-VTT's videos, which are video0 to video{NUM_VIDEOS - 1}"
        files.problem("bad row", where, reason)
        return None
    return video_id


def _read_full(found: Collector, captions: Captions | None) -> None:
    """The official split, from the one file that has it all or from the caption files of its parts."""
    files = found.files
    if captions is not None:
        for video_id in sorted(captions.by_id, key=lambda v: (_number(v), v)):
            _add_official(found, captions, video_id)
        _tell_labels(found, captions)
        return
    files.need(TEST_CAPTIONS, *WHOLE[:3], what="the captions of the 2,990 test videos")
    for split, name in (("test", TEST_CAPTIONS), ("val", VAL_CAPTIONS), ("train", ONE_CAPTION)):
        captions = listed_captions(files, name)
        if not captions.by_id:
            found.notes.append(f"There is no {name}, so there are no {split} videos.")
        for video_id in sorted(captions.by_id, key=lambda v: (_number(v), v)):
            if split != "train" or _number(video_id) in OFFICIAL["train"]:
                _add_official(found, captions, video_id, split)
        if split == "train" and captions.by_id:
            _tell_few(found, captions)


def _add_official(found: Collector, captions: Captions, video_id: str, listed: str | None = None) -> None:
    where = f"{captions.source}, {video_id}"
    if _video(found.files, where, video_id) is None:
        return
    split = next(name for name, numbers in OFFICIAL.items() if _number(video_id) in numbers)
    if listed is not None and split != listed:
        found.files.problem("two splits", where, f"{video_id} is in {listed} there and in {split} officially")
    else:
        found.add(where, split, video_id, captions.of(video_id), tags=captions.tags(video_id))


def _tell_labels(found: Collector, captions: Captions) -> None:
    wrong = [v for v, item in found.items.items() if captions.official_split.get(v, item.split) != item.split]
    if wrong:
        found.notes.append(
            f"{captions.source} labels {many(len(wrong), 'video')} with another split than the official one (some"
            " copies say `train` of all); the official split, by number, is what counts here."
        )


def _tell_few(found: Collector, captions: Captions) -> None:
    """Say so where training has fewer than 20 captions a video: published numbers are from all of them."""
    counts = [len(item.captions) for item in found.items.values() if item.split == "train"]
    if counts and sum(counts) < CAPTIONS_OF_A_VIDEO * len(counts) // 2:
        each = "1 caption" if max(counts) == 1 else f"{sum(counts) / len(counts):.1f} captions"
        found.notes.append(
            f"Training captions are from {captions.source}: {each} a video instead of {CAPTIONS_OF_A_VIDEO}. For"
            " numbers that compare with published ones, train on MSRVTT_data.json."
        )


def _number(video_id: str) -> int:
    """Of `video123`; -1 for what is no MSR-VTT video."""
    match = re.fullmatch(r"video(\d{1,4})", video_id)
    return int(match[1]) if match else -1
