"""VATEX (Wang et al., ICCV 2019): ten English captions for a clip of ten seconds.

Retrieval tests on 1,500 of the 3,000 official validation clips (Chen et al., HGR, CVPR 2020), every caption a query;
the other 1,500 are for validation.
"""

from __future__ import annotations

from pathlib import Path

from tvrkit.prepare.benchmarks.collector import Collector, first_of, objects, stem
from tvrkit.prepare.benchmarks.item import Annotations
from tvrkit.prepare.benchmarks.sources import AnnotationFiles
from tvrkit.prepare.report import many

SPLITS = {"official": "vatex"}
TEST = "descs_ret_test.json"
VAL = ("descs_ret_val.json", "vatex_validation_v1.0.json")
TRAIN = ("descs_ret_train.json", "vatex_training_v1.0.json")
UNUSED = "vatex_public_test_english_v1.1.json"
ACCEPTED = (TEST, *VAL, *TRAIN)


def read(files: AnnotationFiles, split: str = "official") -> Annotations:
    """Read VATEX.

    Raises:
        DataError: the file of the retrieval test is missing or damaged: nothing else tells which clips it has.
    """
    files.prefer = "vatex"
    found = Collector(files)
    path = files.need(TEST, what="the 1,500 test clips of VATEX retrieval; no official file tells them")
    _read_file(found, path, "test")
    for name, names in (("val", VAL), ("train", TRAIN)):
        path_or_none = files.find(*names)
        if path_or_none is None:
            found.notes.append(f"There is no {' or '.join(names)}, so there are no {name} videos.")
        else:
            _read_file(found, path_or_none, name)
    if files.find(UNUSED):
        found.notes.append(f"{UNUSED} is not used: retrieval tests on a half of the validation clips.")
    return found.result(SPLITS[split])


def _read_file(found: Collector, path: Path, split: str) -> None:
    """`{video_id, desc}` objects, or the original's `{videoID, enCap}`."""
    tested = 0
    for where, row in objects(found.files, path.name, found.files.json(path)):
        video_id = stem(first_of(row, "video_id", "videoID", "video"))
        if split != "test" and video_id in found.items and found.items[video_id].split == "test":
            tested += 1
            continue
        found.add(where, split, video_id, first_of(row, "desc", "enCap", "caption"))
    if tested:
        found.notes.append(f"{path.name}: {many(tested, 'clip')} of the test left out of {split}.")
