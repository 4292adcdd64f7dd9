"""LSMDC 2016 (Rohrbach et al., IJCV 2017): short clips of films, one sentence each, 1,000 of them to test on."""

from __future__ import annotations

import re

from tvrkit.prepare.benchmarks.collector import Collector, plain_id
from tvrkit.prepare.benchmarks.item import Annotations
from tvrkit.prepare.benchmarks.sources import AnnotationFiles
from tvrkit.prepare.report import many

SPLITS = {"official": "lsmdc"}
FILES = {
    "test": ("LSMDC16_challenge_1000_publictect.csv", "LSMDC16_challenge_1000_publictest.csv"),
    "val": ("LSMDC16_annos_val.csv",),
    "train": ("LSMDC16_annos_training.csv",),
}
ACCEPTED = tuple(name for names in FILES.values() for name in names)
COLUMNS = 6  # clip, start and end aligned, start and end extracted, sentence
CLIP = re.compile(r"(?:\d{4}_)?(?P<movie>.+)_\d\d\.\d\d\.\d\d\.\d{3}-\d\d\.\d\d\.\d\d\.\d{3}")


def read(files: AnnotationFiles, split: str = "official") -> Annotations:
    """Read LSMDC: lines of six cells between tabs, without a header.

    Raises:
        DataError: the list of the 1,000 test clips is missing or damaged.
    """
    files.prefer = "lsmdc"
    found = Collector(files)
    files.need(*FILES["test"], what="the 1,000 test clips of LSMDC")
    for name, names in FILES.items():
        _read_split(found, name, names)
    return found.result(SPLITS[split])


def _read_split(found: Collector, split: str, names: tuple[str, ...]) -> None:
    files = found.files
    path = files.find(*names)
    if path is None:
        found.notes.append(f"There is no {names[0]}, so there are no {split} clips.")
        return
    sentences: dict[str, list[str]] = {}
    for where, cells in files.cells(path, delimiter="\t", quotes=False):
        clip = plain_id(cells[0])
        if len(cells) != COLUMNS or clip is None:
            files.problem("bad row", where, f"has {len(cells)} cells between tabs instead of {COLUMNS}, or no clip")
        else:
            sentences.setdefault(clip, []).append(cells[-1])
    several = sum(len(texts) > 1 for texts in sentences.values())
    if several:
        found.notes.append(
            f"{path.name}: {many(several, 'clip')} with more than one sentence; each is a caption of it."
        )
    for clip, texts in sentences.items():
        match = CLIP.fullmatch(clip)
        found.add(f"{path.name}, {clip}", split, clip, texts, tags={"source": match["movie"]} if match else None)
