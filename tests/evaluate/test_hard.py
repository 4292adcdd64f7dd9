"""The hard gallery: every count by hand."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from tvrkit.core import TextFeatures, VideoFeatures
from tvrkit.errors import DataError
from tvrkit.evaluate import evaluate_hard


class Oracle(torch.nn.Module):
    """Stands where the interaction does, and gives the scores that a test wants."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, text: TextFeatures, video: VideoFeatures) -> torch.Tensor:
        return self.scores[: len(text), : len(video)]


def test_the_hard_gallery_counts_what_it_says(world):
    manifest, model, encoded = world
    model = copy.deepcopy(model)
    edits = [(r.tags["family"], r.tags["edit"]) for r in manifest.split("hard")]
    assert edits == [(f, e) for f in "01" for e in ("base", "colour", "place")]
    scores = torch.full((6, 6), 9.0)  # other families' clips score highest, and must not count
    # Family 0, rows captions, columns clips: all right, but the base's caption scores highest on the clip of `place`.
    scores[:3, :3] = torch.tensor([[0.5, 0.2, 0.6], [0.1, 0.5, 0.3], [0.2, 0.1, 0.55]])
    # Family 1: everything ties, and a tie is a failure.
    scores[3:, 3:] = 0.4
    model.interaction = Oracle(scores)
    hard = evaluate_hard(model, manifest, encoded["hard"])
    assert (hard.families, hard.clips) == (2, 6)
    # Clips: base .5 over .1 and .2, colour .5 over .2 and .1; place .55 not over .6. Captions: base's own clip .5 is
    # behind .6; colour .5 over .1 and .3; place .55 over .2 and .1.
    assert hard.caption_chosen == pytest.approx(100 * 2 / 6)
    assert hard.clip_found == pytest.approx(100 * 2 / 6)
    # base against colour: both clips right of two, then two ties. base against place: .5 > .2 right, .55 > .6 wrong.
    assert hard.by_edit == {"colour": (50.0, 4), "place": (25.0, 4)}
    assert hard.to_dict()["by_edit"]["place"] == {"accuracy": 25.0, "questions": 4}


def test_the_hard_gallery_wants_its_tags_and_a_caption_each(world):
    manifest, model, encoded = world
    bare = manifest.with_records([replace(r, tags={}) for r in manifest.split("hard")])
    with pytest.raises(DataError, match="lacks the tags 'family' and 'edit'"):
        evaluate_hard(model, bare, encoded["hard"])
    first, *others = manifest.split("hard")
    silent = manifest.with_records([replace(first, captions=(), key_words=None), *others])
    with pytest.raises(DataError, match=r"of 'hard' has no caption: each clip"):
        evaluate_hard(model, silent, encoded["hard"])
