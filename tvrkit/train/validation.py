"""The validation split, and which checkpoint is the best by it; the test split is never looked at in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvrkit
from tvrkit.coerce import nearest
from tvrkit.config import Config
from tvrkit.core.model import RetrievalModel
from tvrkit.distributed import SOLO, Team
from tvrkit.encode import EncodedFrames
from tvrkit.errors import ConfigError, DataError
from tvrkit.evaluate import encode_split, evaluate_encoded
from tvrkit.manifest import Manifest
from tvrkit.reporting import Reporter
from tvrkit.train.sources import encode_cached, reading_of

_LOWER_IS_BETTER = ("MdR", "MnR")
_NAMES = ("R@1", "R@5", "R@10", *_LOWER_IS_BETTER)


@dataclass(frozen=True)
class Outcome:
    """What a validation gave: the metric that chooses, all of them for metrics.json, and a few words."""

    score: float | None
    metrics: dict[str, Any]
    words: str
    lower_is_better: bool = False

    def better_than(self, best: float | None) -> bool:
        """Whether this checkpoint is to be kept; without a validation split the latest always is."""
        if self.score is None or best is None:
            return True
        return self.score < best if self.lower_is_better else self.score > best


class Validation:
    """Evaluates a model on the validation split; says once when there is none.

    Attributes:
        split: its name, or None.
    """

    def __init__(
        self,
        model: RetrievalModel,
        manifest: Manifest,
        config: Config,
        report: Reporter,
        *,
        cache: bool,
        team: Team = SOLO,
    ) -> None:
        """Look at the split, and with `cache` compute its frame features once; `data.cache_frames` decodes it once.

        The processes of `team` share that work and each evaluation: making one and calling it are collectives, and
        all processes get the same outcome.

        Raises:
            ConfigError: the test split is to choose, or `train.select_by` is no metric.
            DataError: a video of the split cannot be read.
        """
        self._manifest, self._config, self._team = manifest, config, team
        self._reading = reading_of(config, model)
        self.split: str | None = config.data.val_split
        if self.split == "test":
            raise ConfigError(
                "data.val_split=test would choose the checkpoint on the very videos that it is measured on:"
                " prepare the data set with a split of its own for validation."
            )
        direction, slash, name = config.train.select_by.partition("/")
        if direction not in ("t2v", "v2t") or name not in _NAMES:
            raise ConfigError(
                f"train.select_by is t2v/ or v2t/ and one of {', '.join(_NAMES)}, not {config.train.select_by!r}."
            )
        self._encoded: EncodedFrames | None = None
        if self.split not in manifest.splits():
            if self.split not in ("val", "none"):  # a word of the user's own is no wish for no validation
                there = nearest(str(self.split), list(manifest.splits()))
                raise ConfigError(f"data.val_split: {manifest.name} has no split {self.split!r}{there}")
            self.split = None
            patience = "" if config.train.patience is None else ", and train.patience ends nothing"
            report.say(
                f"{manifest.name} has no split {config.data.val_split!r}, so no checkpoint can be chosen:"
                f" the last is kept{patience}."
            )
        elif cache:
            records = manifest.split(self.split)
            self._encoded = encode_cached(model, manifest, records, config, report, self.split, team=team)
            _require_readable(self._encoded, manifest, self.split)

    def __call__(self, model: RetrievalModel, step: int) -> Outcome:
        """Evaluate the model as it is after `step` steps."""
        about = {"tvrkit": tvrkit.__version__, "dataset": self._manifest.name, "step": step}
        if self.split is None:
            words = "no validation split: the last checkpoint"
            return Outcome(None, {**about, "split": None, "selected_by": words}, words)
        encoded = self._encoded or encode_split(
            model, self._manifest, self.split, reading=self._reading, team=self._team
        )
        _require_readable(encoded, self._manifest, self.split)
        # A choice among checkpoints, no published number: it needs no protocol's whole set.
        evaluation = evaluate_encoded(model, self._manifest, self.split, encoded, allow_missing=True, team=self._team)
        metrics = {**about, **evaluation.to_dict(), "selected_by": self._config.train.select_by}
        direction, _, name = self._config.train.select_by.partition("/")
        return Outcome(
            score=float(metrics[direction][name]),
            metrics=metrics,
            words=f"{self.split} {evaluation.words()}",
            lower_is_better=name in _LOWER_IS_BETTER,
        )


def _require_readable(encoded: EncodedFrames, manifest: Manifest, split: str) -> None:
    for error in encoded.failures.values():
        raise DataError(
            f"the split {split!r} of {manifest.name} cannot be used whole: {error}; mend the file, or"
            " prepare the data set again without it."
        )
