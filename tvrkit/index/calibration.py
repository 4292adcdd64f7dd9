"""What turns standings into probabilities, as a value and as a file beside a model or in the cache."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tvrkit.config import config_to_dict
from tvrkit.core import RetrievalModel
from tvrkit.core.checkpoint import checkpoint_of
from tvrkit.core.fingerprint import Fingerprint
from tvrkit.errors import CheckpointError, StoreError
from tvrkit.files import whole_folder, write_json
from tvrkit.workspace import cache_folder

CALIBRATION_NAME = "calibration.json"
FORMAT = 1

_MOST_SENTENCES, _LONGEST = 4096, 2000


@dataclass(frozen=True)
class Calibration:
    """Numbers of a logistic regression: the odds of a fit are exp(similarity * s + standing * t + offset) / searched.

    The defaults are the built-in guess for a model that was not calibrated. A similarity's scale is a model's own, so
    that has no part in it.

    Attributes:
        similarity: weight of the similarity s, >= 0.
        standing: weight of the standing t among the bank, >= 0.
        offset: what is added.
        threshold: the confidence from which on a match is confident: above it a fit is more likely than not.
        bank: sentences that a query has to stand against; () stands for the everyday sentences.
        model: `model_digest` of the one it belongs to; "" belongs to any.
        learned_on: data set and split; "" for what is built in.
    """

    similarity: float = 0.0
    standing: float = 1.25
    offset: float = 0.5
    threshold: float = 0.5
    bank: tuple[str, ...] = ()
    model: str = ""
    learned_on: str = ""

    def probability(self, scores: Tensor, standing: Tensor, searched: Tensor | int) -> Tensor:
        """Of a fit, (n,) float64, from similarities and standings (n,) of the best among `searched` moments.

        One of all that are searched is taken to fit with probability 1/2, each alike; hence the division of the odds.
        """
        count = torch.as_tensor(searched, dtype=torch.float64)
        logit = self.similarity * scores.double() + self.standing * standing.double() + self.offset - count.log()
        return torch.sigmoid(logit)


BUILT_IN = Calibration()
"""For a model that was not calibrated."""


def model_digest(model: RetrievalModel) -> str:
    """Names everything that decides a similarity: the weights of all parts, and the settings."""
    facts = {key: value for key, value in config_to_dict(model.config).items() if key not in ("backbone", "pretrained")}
    return Fingerprint()(model.state_dict(), [facts, model.fingerprint()])


def calibration_files(model: RetrievalModel, source: str | Path) -> Iterator[Path]:
    """Files that may hold the model's calibration and are there, best first."""
    beside = _beside(source)
    if beside is not None and beside.is_file():
        yield beside
    folder = cache_folder() / "calibrations"
    # The digest reads all weights, so that is left until there is something to compare it with.
    if folder.is_dir() and any(folder.glob(f"{model.fingerprint()[:16]}-*.json")):
        path = folder / _cached_name(model)
        if path.is_file():
            yield path


def save_calibration(model: RetrievalModel, source: str | Path, calibration: Calibration, report: Any = None) -> Path:
    """Write it beside the model, or to the cache where that is a name or cannot be written; its path.

    Args:
        model: the one it was learned with.
        source: what that was loaded from.
        calibration: what was learned.
        report: kept in the file for people to read.

    Raises:
        OSError: neither place can be written.
    """
    content = {"tvrkit_calibration": FORMAT, **asdict(calibration), "report": report}
    beside = _beside(source)
    if beside is not None:
        try:
            write_json(beside, content)
            return beside
        except OSError:
            pass  # a model on a shared disk that others keep
    path = cache_folder() / "calibrations" / _cached_name(model)
    write_json(path, content)
    return path


def read_calibration(path: Path) -> Calibration:
    """What a file says.

    Raises:
        StoreError: it cannot be read, or is no calibration of this version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read ({' '.join(str(error).split())}).") from None
    if not isinstance(content, dict) or content.get("tvrkit_calibration") != FORMAT:
        raise StoreError(f"{path} is no calibration that this version of tvrkit can use.")
    values: dict[str, Any] = {field.name: content.get(field.name) for field in fields(Calibration)}
    bank = values["bank"]
    whole = isinstance(bank, list) and len(bank) <= _MOST_SENTENCES
    if not whole or not all(isinstance(one, str) and one.strip() and len(one) <= _LONGEST for one in bank):
        raise StoreError(f"{path} has no usable sentences under `bank`.")
    for name in ("similarity", "standing", "offset", "threshold"):
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise StoreError(f"{path} has no number under `{name}`.")
    if not all(isinstance(values[name], str) for name in ("model", "learned_on")):
        raise StoreError(f"{path} does not say which model it belongs to.")
    return Calibration(**{**values, "bank": tuple(bank)})


def _beside(source: str | Path) -> Path | None:
    """Where a model that is a folder keeps it; None for a name."""
    if not whole_folder(source).is_dir():
        return None
    try:
        return checkpoint_of(source) / CALIBRATION_NAME
    except CheckpointError:
        return None  # a folder that open_clip wrote


def _cached_name(model: RetrievalModel) -> str:
    return f"{model.fingerprint()[:16]}-{model_digest(model)[:16]}.json"
