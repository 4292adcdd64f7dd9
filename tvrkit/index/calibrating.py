"""Learning what a standing is worth, from videos whose captions are known, and measuring it on others of them.

A case is a search: a caption, and as many moments as somebody may have, with its own video among them or without. What
is judged is what a search shows first. Letters: T captions, V videos, C cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tvrkit.core import RetrievalModel
from tvrkit.encode import EncodedFrames, encode_texts, encode_videos
from tvrkit.errors import DataError, ModelError
from tvrkit.index.calibration import BUILT_IN, Calibration, model_digest
from tvrkit.index.calibration_report import Report, measure_calibration, measure_threshold
from tvrkit.index.confidence import bank_level, everyday_sentences
from tvrkit.manifest import Manifest, Record

BANK = 256
FEWEST_VIDEOS = 20
"""Of each half."""

_MOST_CAPTIONS = 2000
_DRAWS = 2
_SEED = 0


@dataclass(frozen=True)
class Cases:
    """Searches and what stood first in each.

    Attributes:
        similarity: (C,) float64, of the best moment.
        standing: (C,) float64, how far it lies above `bank_level`, in deviations.
        searched: (C,) float64, how many moments there were.
        fits: (C,) bool, whether the best is the caption's own video.
        present: (C,) bool, whether that was among them.
    """

    similarity: Tensor
    standing: Tensor
    searched: Tensor
    fits: Tensor
    present: Tensor

    def __len__(self) -> int:
        return len(self.fits)

    def __getitem__(self, rows: Tensor) -> Cases:
        columns = (self.similarity, self.standing, self.searched, self.fits, self.present)
        return Cases(*(column[rows] for column in columns))


def calibrate(
    model: RetrievalModel, manifest: Manifest, split: str, encoded: EncodedFrames
) -> tuple[Calibration, Report]:
    """Learn on one half of a split's videos, and measure on the other.

    Args:
        model: whose similarities are judged.
        manifest: the data set.
        split: name of one of its splits.
        encoded: its frames; `rows` are positions in the split.

    Raises:
        DataError: too few of its videos have captions and can be read.
    """
    random = np.random.default_rng(_SEED)
    records = manifest.split(split)
    rows = [i for i, row in enumerate(encoded.rows.tolist()) if records[row].captions]
    kept = [records[int(encoded.rows[i])] for i in rows]
    bank, first = _choose_bank(manifest, split, kept, random)
    order = random.permutation(np.arange(first, len(rows)))
    if len(order) < 2 * FEWEST_VIDEOS:
        raise DataError(
            f"{manifest.name}/{split} has {len(order)} videos to learn from: {2 * FEWEST_VIDEOS} with captions that can"
            " be read are the fewest."
        )
    half = len(order) // 2
    learn, _ = _cases(model, kept, encoded, rows, order[:half], bank, random)
    check, plain = _cases(model, kept, encoded, rows, order[half:], bank, random)
    similarity, standing, offset = fit(learn)
    calibration = Calibration(
        similarity=similarity,
        standing=standing,
        offset=offset,
        bank=tuple(bank),
        model=model_digest(model),
        learned_on=f"{manifest.name}/{split}",
    )
    report = Report(
        learned_on=calibration.learned_on,
        videos=(half, len(order) - half),
        calibrated=measure_calibration(calibration, check),
        built_in=measure_calibration(BUILT_IN, plain),
        raw=measure_threshold(_by_similarity(learn, check), learn, check),
    )
    return calibration, report


@torch.no_grad()
def _cases(
    model: RetrievalModel,
    kept: Sequence[Record],
    encoded: EncodedFrames,
    rows: Sequence[int],
    part: np.ndarray,
    bank: Sequence[str],
    random: np.random.Generator,
) -> tuple[Cases, Cases]:
    """Searches among a part of the videos: judged against the bank, and the same against the everyday sentences."""
    at = [rows[int(i)] for i in part]
    videos = encode_videos(model, encoded.frame_features[at], encoded.frame_mask[at]).to(model.device)
    captions, own = _captions([kept[int(i)] for i in part], random)

    def similarity(texts: Sequence[str]) -> Tensor:
        return model.similarity(encode_texts(model, texts).to(model.device), videos).cpu().double()

    scores = similarity(captions)
    if not bool(scores.isfinite().all()):
        raise ModelError("the model scores videos with something that is no number: its weights may be damaged.")
    learned, everyday = (draw_cases(scores, own, *bank_level(similarity(one))) for one in (bank, everyday_sentences()))
    return learned, everyday


def draw_cases(similarity: Tensor, own: Tensor, level: Tensor, spread: Tensor, *, seed: int = 0) -> Cases:
    """Searches among 1, 10, 100 … and nearly all of V videos, each with the right one among them and without.

    Args:
        similarity: (T, V) float64.
        own: (T,) the column of each caption's video.
        level: (V,), see `bank_level`.
        spread: (V,).
        seed: of what is searched.
    """
    random = np.random.default_rng(seed)
    texts, videos = similarity.shape
    most = videos - 1
    sizes = sorted({*(10**power for power in range(6) if 10**power < most), most})
    parts: list[tuple[Tensor, ...]] = []
    for size in sizes:
        for _ in range(_DRAWS):
            keys = torch.from_numpy(random.random((texts, videos)))
            keys[torch.arange(texts), own] = 2.0  # never drawn
            drawn = keys.topk(size, dim=1, largest=False).indices
            for present in (False, True):
                if present:
                    drawn = torch.cat([drawn[:, 1:], own[:, None]], dim=1)  # last: a tie is no success
                score, place = similarity.gather(1, drawn).max(dim=1)
                best = drawn.gather(1, place[:, None])[:, 0]
                standing = (score - level[best]) / spread[best]
                count = torch.full((texts,), float(size), dtype=torch.float64)
                parts.append((score, standing, count, best == own, torch.full((texts,), present)))
    return Cases(*(torch.cat(column) for column in zip(*parts, strict=True)))


def fit(cases: Cases) -> tuple[float, float, float]:
    """Weights >= 0 of similarity and standing, and the offset, by logistic regression (Newton's steps).

    A weight that would be below 0 is left out: a model's noise must not turn its own order around.
    """
    columns = torch.stack([cases.similarity, cases.standing], dim=1)
    weights = torch.zeros(2, dtype=torch.float64)
    used = [0, 1]
    while True:
        part, constant = _regress(columns[:, used], cases)
        if not used or float(part.min()) >= 0:
            break
        used.pop(int(part.argmin()))
    weights[used] = part
    return float(weights[0]), float(weights[1]), float(constant)


def _by_similarity(learn: Cases, check: Cases) -> Tensor:
    """(C,) what the similarity alone is worth in `check`: the usual way to calibrate (Platt), learned on `learn`."""
    alone = replace(learn, searched=torch.ones_like(learn.searched))
    weight, offset = _regress(learn.similarity[:, None], alone)
    return torch.sigmoid(weight[0] * check.similarity + offset)


def _regress(columns: Tensor, cases: Cases) -> tuple[Tensor, Tensor]:
    """Weights of columns (C, k), and the offset, for log odds that begin at -log(searched)."""
    mean = columns.mean(dim=0)
    spread = (columns - mean).square().mean(dim=0).sqrt().clamp(min=1e-9)
    design = torch.cat([(columns - mean) / spread, torch.ones(len(columns), 1, dtype=torch.float64)], dim=1)
    fits, start = cases.fits.double(), -cases.searched.log()
    weights = torch.zeros(design.shape[1], dtype=torch.float64)
    # A little ridge: where fits and misfits can be told apart without fail, weights would grow without end.
    ridge = 1e-3 * len(columns) ** 0.5 * torch.eye(len(weights), dtype=torch.float64)
    for _ in range(100):
        p = torch.sigmoid(design @ weights + start)
        slope = design.T @ (p - fits) + ridge @ weights
        step = torch.linalg.solve((design * (p * (1 - p))[:, None]).T @ design + ridge, slope)
        weights = weights - step.clamp(-2, 2)
        if float(step.abs().max()) < 1e-9:
            break
    scaled = weights[:-1] / spread
    return scaled, weights[-1] - (scaled * mean).sum()


def _choose_bank(
    manifest: Manifest, split: str, kept: Sequence[Record], random: np.random.Generator
) -> tuple[list[str], int]:
    """Captions that a query has to stand against, and how many of the kept videos gave theirs away for it.

    Training captions, where there are enough; else those of a third of the videos, which then have no other part.
    """
    own = {caption for record in kept for caption in record.captions}
    train = manifest.split("train") if split != "train" and "train" in manifest.splits() else ()
    others = sorted({caption for record in train for caption in record.captions} - own)
    first = 0
    if len(others) < BANK // 4:
        first = len(kept) // 3
        others = sorted({caption for record in kept[:first] for caption in record.captions})
    order = random.permutation(len(others))[:BANK]
    return [others[int(i)] for i in order], first


def _captions(records: Sequence[Record], random: np.random.Generator) -> tuple[list[str], Tensor]:
    """Captions of some videos, a bounded number, and the position of each one's video."""
    pairs = [(caption, i) for i, record in enumerate(records) for caption in record.captions]
    if len(pairs) > _MOST_CAPTIONS:
        pairs = [pairs[int(i)] for i in np.sort(random.choice(len(pairs), size=_MOST_CAPTIONS, replace=False))]
    return [caption for caption, _ in pairs], torch.tensor([i for _, i in pairs])
