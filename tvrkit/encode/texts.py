"""The states of captions by a text tower that stands still, computed once and kept on disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tvrkit.core.kept_texts import KeptTexts, cut, keys_of
from tvrkit.core.model import RetrievalModel
from tvrkit.distributed import SOLO, Team
from tvrkit.distributed.agree import agreed
from tvrkit.encode.frames import OnProgress
from tvrkit.encode.towers import evaluating
from tvrkit.store import FeatureStore
from tvrkit.workspace import cache_folder

BATCH = 64
"""Captions that go through the tower together, those of like length."""
_WRITTEN = 16  # batches for each segment on disk


def text_cache(model: RetrievalModel) -> Path:
    """Folder where training keeps the states of a text tower; deleting it costs time only."""
    return cache_folder() / "texts" / model.text_fingerprint()[:16]


@torch.no_grad()
def keep_texts(
    model: RetrievalModel,
    captions: Sequence[str],
    store: FeatureStore | None,
    *,
    on_progress: OnProgress | None = None,
    team: Team = SOLO,
) -> KeptTexts:
    """States of captions, computed where `store` has not got them: in full precision, in evaluation mode.

    The processes of a team share the work where they share the store's folder; this is a collective.

    Args:
        model: its text tower is used.
        captions: any; the same in all processes.
        store: where states are looked up and kept; they stay there and are mapped, not read. None holds them in memory.
        on_progress: called with the number of distinct texts done, and 0.
        team: processes that share the work.

    Raises:
        StoreError: the store of some process cannot be used.
    """
    names = _by_length(model, captions)
    known: dict[str, Tensor] = {}
    told = 0

    def compute(missing: Sequence[str]) -> None:
        nonlocal told
        told = max(told, len(names) - len(missing))
        for part in _chunks(missing, BATCH * _WRITTEN):
            made = {name: row for batch in _chunks(part, BATCH) for name, row in _states(model, names, batch)}
            if store is None:
                known.update(made)
            else:
                store.put({name: {"states": row} for name, row in made.items()})
            told += len(part)
            if on_progress:
                on_progress(told, 0)

    with evaluating(model), torch.autocast(model.device.type, enabled=False):
        if store is None:
            compute(list(names))
        else:
            missing = agreed(team, lambda: store.missing(list(names)))
            agreed(team, lambda: compute(missing[team.split(len(missing))]))
            # What is still missing here another process has put on another machine's disk.
            agreed(team, lambda: compute(store.missing(list(names))))
            known = {name: item["states"] for name, item in store.get(list(names)).items()}
    if on_progress:
        on_progress(len(names), 0)
    return KeptTexts({name.rpartition("/")[2]: states for name, states in known.items()})


def _by_length(model: RetrievalModel, captions: Sequence[str]) -> dict[str, str]:
    """Names under which the store has texts, and the texts: each once, those of like length together."""
    prefix, found = model.text_fingerprint(), {}
    for chunk in _chunks(list(dict.fromkeys(captions)), 4096):
        tokens = model.tokenize(chunk, [()] * len(chunk))
        counts = tokens.word_mask.sum(dim=1).tolist()
        found.update({key: (count, text) for key, count, text in zip(keys_of(tokens), counts, chunk, strict=True)})
    order = sorted(found, key=lambda key: (found[key][0], key))
    return {f"{prefix}/{key}": found[key][1] for key in order}


def _states(model: RetrievalModel, names: Mapping[str, str], batch: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    tokens = model.tokenize([names[name] for name in batch], [()] * len(batch))
    states = model.backbone.text_states(tokens.to(model.device)).float().cpu()
    yield from zip(batch, cut(states, tokens.word_mask), strict=True)


def _chunks(items: Sequence[str], size: int) -> list[list[str]]:
    source = iter(items)
    return [chunk for chunk in iter(lambda: list(itertools.islice(source, size)), [])]
