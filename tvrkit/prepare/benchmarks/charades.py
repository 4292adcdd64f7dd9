"""Charades (Sigurdsson et al., ECCV 2016) for retrieval: a video's script is its one query, 7,985 / 1,863.

So does ECLIPSE (Lin et al., ECCV 2022), the work that brought Charades to text-video retrieval: the `script` column,
whole videos, the official train and test files.
"""

from __future__ import annotations

from collections import Counter

from tvrkit.prepare.benchmarks.collector import Collector
from tvrkit.prepare.benchmarks.item import Annotations
from tvrkit.prepare.benchmarks.sources import AnnotationFiles
from tvrkit.prepare.report import many

SPLITS = {"official": "charades"}
FILES = {"test": "Charades_v1_test.csv", "train": "Charades_v1_train.csv"}
ACCEPTED = tuple(FILES.values())


def read(files: AnnotationFiles, split: str = "official") -> Annotations:
    """Read Charades.

    Raises:
        DataError: the test file is missing or damaged.
    """
    files.prefer = "charades"
    found = Collector(files)
    files.need(FILES["test"], what="the scripts of the test videos")
    for name, file_name in FILES.items():
        path = files.find(file_name)
        if path is None:
            found.notes.append(f"There is no {file_name}, so there are no {name} videos.")
            continue
        for where, row in files.rows(path, "id", "script"):
            scene = row.get("scene", "").strip()
            found.add(where, name, row["id"], row["script"], tags={"category": scene} if scene else None)
    _tell_shared(found)
    return found.result(SPLITS[split])


def _tell_shared(found: Collector) -> None:
    """Scripts were acted several times: such a query has several right videos, and only one counts."""
    scripts = Counter(item.captions for item in found.items.values() if item.split == "test")
    shared = sum(number for number in scripts.values() if number > 1)
    if shared:
        found.notes.append(
            f"The scripts of {many(shared, 'test video')} are acted in other test videos, too; for each query the"
            " protocol counts its own video only."
        )
