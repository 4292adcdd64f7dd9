"""DiDeMo (Hendricks et al., ICCV 2017): a video's descriptions, joined in the file's order, are one paragraph.

The original files name some videos under two suffixes. As in the field's code, descriptions count that stand under
the name in the list, and the others do not.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from tvrkit.errors import DataError
from tvrkit.prepare.benchmarks.collector import SPLITS as SPLIT_WORDS
from tvrkit.prepare.benchmarks.collector import Collector, first_of, objects, stem
from tvrkit.prepare.benchmarks.item import Annotations
from tvrkit.prepare.benchmarks.sources import AnnotationFiles
from tvrkit.prepare.report import many

SPLITS = {"official": "didemo"}
ORIGINAL = "{}_data.json"
HUB = "didemo_{}.json"
DERIVED = "didemo_{}_label.csv"
LIST = "{}_list.txt"
ACCEPTED = tuple(name.format(split) for split in SPLIT_WORDS for name in (ORIGINAL, LIST, DERIVED, HUB))

Paragraphs = dict[str, list[str]]


def read(files: AnnotationFiles, split: str = "official") -> Annotations:
    """Read DiDeMo.

    Raises:
        DataError: there are no descriptions of the test videos.
    """
    files.prefer = "didemo"
    found = Collector(files)
    for name in reversed(SPLIT_WORDS):  # the test files tell best which folder is DiDeMo's
        _read_split(found, name)
    return found.result(SPLITS[split])


def _read_split(found: Collector, split: str) -> None:
    files = found.files
    names = [name.format(split) for name in (ORIGINAL, HUB, DERIVED)]
    path = files.find(*names) if split != "test" else files.need(*names, what="the descriptions of DiDeMo's videos")
    if path is None:
        found.notes.append(f"There is no {' or '.join(names)}, so there are no {split} videos.")
        return
    paragraphs = _from_table(files, path) if path.suffix.lower() == ".csv" else _from_json(files, path)
    list_path = files.find(LIST.format(split))
    if list_path is None:
        found.notes.append(f"There is no {LIST.format(split)}; the {split} videos are all in {path.name}.")
        for name, texts in paragraphs.items():
            if stem(name) in found.items and path.name == ORIGINAL.format(split):
                continue  # the same video under its other suffix
            found.add(f"{path.name}, {name}", split, stem(name), " ".join(texts), names=_names(name))
        return
    listed = files.lines(list_path)
    by_stem = {stem(name): texts for name, texts in reversed(paragraphs.items())}
    missing = 0
    for number, name in enumerate(listed, start=1):
        where = f"{list_path.name}, line {number}"
        if described := paragraphs.get(name) or by_stem.get(stem(name)):
            found.add(where, split, stem(name), " ".join(described), names=_names(name))
        else:
            missing += 1
            files.problem("no caption", where, f"{name} is not in {path.name}")
    _tell_differences(found, path, list_path, paragraphs, missing)


def _from_json(files: AnnotationFiles, path: Path) -> Paragraphs:
    """Descriptions by file name, from one object a description, or from the hub's one object a video."""
    paragraphs: Paragraphs = defaultdict(list)
    for where, row in objects(files, path.name, files.json(path)):
        name, texts = first_of(row, "video", "video_id"), first_of(row, "description", "caption", "desc")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(name, str) or stem(name) is None:
            files.problem("bad row", where, "names no video")
        elif not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            files.problem("empty caption", where, f"its description of {name} is empty or no text")
        else:
            paragraphs[name.rpartition("/")[2].strip()] += texts
    return paragraphs


def _from_table(files: AnnotationFiles, path: Path) -> Paragraphs:
    """Paragraphs by file name from the derived tables: `video_path` and `text`."""
    paragraphs: Paragraphs = {}
    for where, row in files.rows(path, "video_path", "text"):
        name = row["video_path"].replace("\\", "/").rpartition("/")[2].strip()
        if name in paragraphs:
            files.problem("duplicate id", where, f"{name} stands there already; the first counts")
        elif row["text"].strip():
            paragraphs[name] = [row["text"]]
        else:
            files.problem("empty caption", where, f"the paragraph of {name} is empty")
    if not paragraphs:
        raise DataError(f"{path} holds no paragraph: fetch it again.")
    return paragraphs


def _tell_differences(found: Collector, path: Path, list_path: Path, paragraphs: Paragraphs, missing: int) -> None:
    listed = set(found.files.lines(list_path))
    stems = {stem(name) for name in listed}
    twice = [name for name in paragraphs if name not in listed and stem(name) in stems]
    rest = [name for name in paragraphs if stem(name) not in stems]
    if missing:
        found.notes.append(f"{list_path.name} has {many(missing, 'video')} that {path.name} does not describe.")
    if twice:
        left = sum(len(paragraphs[name]) for name in twice)
        found.notes.append(
            f"{path.name} has {many(len(twice), 'video')} under a second suffix as well, first {twice[0]}; as"
            f" {list_path.name} does not name them so, those {many(left, 'description')} are left out, as the field's"
            " code does."
        )
    if rest:
        found.notes.append(f"{path.name} has {many(len(rest), 'video')} that {list_path.name} does not name: left out.")


def _names(name: str) -> tuple[str, ...]:
    """The name with its suffix: copies are called `clip.mov.mp4`, and some originals end in a mere dot."""
    return (name,) if name != stem(name) else ()
