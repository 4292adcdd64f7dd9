"""How likely it is that a moment fits the words: a number that means the same for every query and model.

A similarity alone means nothing: some moments are similar to every sentence, some models to every moment. So a moment
is also asked for sentences that nobody looks for, the bank, and what counts is where the query stands among them. How
much that is worth, `tvrkit calibrate` learns; docs/confidence.md tells how well. Letters: n moments, B of the bank.
"""

from __future__ import annotations

import functools
import logging
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from tvrkit.core import RetrievalModel, TextFeatures
from tvrkit.errors import StoreError
from tvrkit.index.bank import bank_features
from tvrkit.index.calibration import BUILT_IN, Calibration, calibration_files, model_digest, read_calibration
from tvrkit.index.engine import MomentFeatures

_PART_OF_BANK = 32
"""The best of every 32 sentences are what a query has to stand against: 8 of 256, and 4 to 16 do as well."""

_log = logging.getLogger("tvrkit.index")


@functools.cache
def everyday_sentences() -> tuple[str, ...]:
    """Sentences about everyday scenes, the bank of a model that was not calibrated."""
    text = (files("tvrkit") / "assets" / "confidence" / "everyday.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


class Judge:
    """Tells how likely it is that moments fit a text.

    Attributes:
        calibration: what was learned, or the built-in numbers.
    """

    def __init__(self, model: RetrievalModel, calibration: Calibration = BUILT_IN) -> None:
        self._model = model
        self.calibration = calibration
        self._bank: TextFeatures | None = None

    @property
    def threshold(self) -> float:
        """The confidence from which on a match is confident."""
        return self.calibration.threshold

    def confidence(
        self,
        text: TextFeatures,
        scores: Tensor,
        found: MomentFeatures,
        searched: int | Tensor | None = None,
        level: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """How likely it is that each moment fits the text.

        It costs as much as scoring these moments for every sentence of the bank: give those that are shown.

        Args:
            text: one text.
            scores: (n,) the model's similarity of the text with each moment.
            found: the n moments.
            searched: among how many moments they are the best, one number or (n,); None: n. The more there
                are, the better is the best of those that do not fit, and the less does the same standing mean.
            level: `level` of the moments where it is known, for several texts.

        Returns:
            (n,) float64 on the CPU, 0 to 1.
        """
        if len(text) != 1:
            raise ValueError(f"confidence is of one text, got {len(text)}")
        scores = scores.detach().cpu().double()
        if not len(scores):
            return scores
        against, spread = level or self.level(found)
        count = len(scores) if searched is None else searched
        return self.calibration.probability(scores, (scores - against) / spread, count)

    @torch.no_grad()
    def level(self, found: MomentFeatures) -> tuple[Tensor, Tensor]:
        """What a text has to stand against in each moment, see `bank_level`; the costly part of `confidence`."""
        if self._bank is None:
            self._bank = bank_features(self._model, self.calibration.bank or everyday_sentences())
        device = self._model.device
        nearest = (found.nearest[0].to(device), found.nearest[1].to(device))
        return bank_level(self._model.interaction(self._bank.to(device), found.features.to(device), nearest))


def bank_level(bank: Tensor) -> tuple[Tensor, Tensor]:
    """What a query has to stand against in each of n moments, from the bank's similarities (B, n).

    Returns:
        (n,) float64 on the CPU: the mean of the best of the bank, and the deviation of all of it, above 0.
    """
    scores = bank.detach().cpu().double()
    best = max(1, len(scores) // _PART_OF_BANK)
    return scores.topk(best, dim=0).values.mean(dim=0), scores.std(dim=0).clamp(min=1e-6)


def load_judge(model: RetrievalModel, source: str | Path) -> Judge:
    """The judge of a model: calibrated beside it or in the cache, else with the built-in numbers.

    A calibration of other weights, or one that cannot be read, is named in a warning and not used.

    Args:
        model: as loaded.
        source: what it was loaded from: a run, an exported folder, or a name.
    """
    for path in calibration_files(model, source):
        try:
            calibration = read_calibration(path)
        except StoreError as error:
            _log.warning("%s Confidence is the built-in guess", error)
            continue
        if calibration.model == model_digest(model):
            return Judge(model, calibration)
        _log.warning("%s belongs to other weights: confidence is the built-in guess until `tvrkit calibrate`", path)
    return Judge(model)
