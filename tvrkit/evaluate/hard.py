"""The hard gallery: families of clips whose captions differ in one word."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import torch

from tvrkit.core.model import RetrievalModel
from tvrkit.distributed import SOLO, Team
from tvrkit.encode import EncodedFrames
from tvrkit.errors import DataError
from tvrkit.evaluate.scoring import compare
from tvrkit.manifest import Manifest

HARD_SPLIT = "hard"
BASE = "base"


@dataclass(frozen=True)
class HardGallery:
    """Families of clips whose captions differ in one word; all in percent, and a tie is a failure.

    Attributes:
        families: how many.
        clips: in all of them.
        caption_chosen: clips whose own caption scores above every other of the family.
        clip_found: captions whose own clip scores above every other of the family.
        by_edit: kind of edit -> (percent, questions): base and edit, two clips and two captions; each clip is asked
            which of the two captions is its own (chance 50).
    """

    families: int
    clips: int
    caption_chosen: float
    clip_found: float
    by_edit: dict[str, tuple[float, int]]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "families": self.families,
            "clips": self.clips,
            "caption_chosen": self.caption_chosen,
            "clip_found": self.clip_found,
            "by_edit": {kind: {"accuracy": value, "questions": n} for kind, (value, n) in self.by_edit.items()},
        }


def evaluate_hard(
    model: RetrievalModel,
    manifest: Manifest,
    encoded: EncodedFrames,
    split: str = HARD_SPLIT,
    *,
    team: Team = SOLO,
) -> HardGallery:
    """Ask the hard gallery: records with the tags `family` and `edit` (`base`, or which word was changed).

    Args:
        model: any.
        manifest: the data set.
        encoded: of `encode_split` on that split.
        split: name of the gallery.
        team: as in `evaluate_encoded`.

    Raises:
        DataError: a clip cannot be read, or lacks its tags or a caption.
    """
    everything = manifest.split(split)
    for error in encoded.failures.values():
        raise DataError(f"a clip of the hard gallery cannot be read: {error}; prepare the data set again.")
    families: dict[str, list[int]] = defaultdict(list)
    for row, record in enumerate(everything):
        if not {"family", "edit"} <= set(record.tags):
            raise DataError(f"record {record.video_id!r} of {split!r} lacks the tags 'family' and 'edit'.")
        if not record.captions:
            raise DataError(f"record {record.video_id!r} of {split!r} has no caption: each clip of a family needs one.")
        families[record.tags["family"]].append(row)
    # One caption a clip: the first; the gallery's captions differ in one word by design.
    firsts = [replace(r, captions=r.captions[:1], key_words=r.key_words and r.key_words[:1]) for r in everything]
    similarity, _ = compare(model, manifest, firsts, encoded, team=team)
    chosen = found = clips = 0
    asked: dict[str, list[bool]] = defaultdict(list)
    for rows in families.values():
        scores = similarity[rows][:, rows]
        own = scores.diagonal()
        others = scores.masked_fill(torch.eye(len(rows), dtype=torch.bool), -torch.inf)
        chosen += int((own > others.amax(0)).sum())
        found += int((own > others.amax(1)).sum())
        clips += len(rows)
        bases = [i for i, row in enumerate(rows) if everything[row].tags["edit"] == BASE]
        for base in bases:
            for i, row in enumerate(rows):
                if i != base:
                    kind = everything[row].tags["edit"]
                    asked[kind] += [bool(own[base] > scores[i, base]), bool(own[i] > scores[base, i])]
    return HardGallery(
        families=len(families),
        clips=clips,
        caption_chosen=100 * chosen / clips,
        clip_found=100 * found / clips,
        by_edit={kind: (100 * sum(right) / len(right), len(right)) for kind, right in sorted(asked.items())},
    )
