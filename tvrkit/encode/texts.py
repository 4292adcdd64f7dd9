"""The states of captions by a text tower that stands still, computed once and kept on disk."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch

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
    store: FeatureStore,
    *,
    on_progress: OnProgress | None = None,
    team: Team = SOLO,
) -> KeptTexts:
    """States of captions, computed where `store` has not got them: in full precision, in evaluation mode.

    The processes of a team share the work where they share the store's folder; this is a collective.

    Args:
        model: its text tower is used.
        captions: any; the same in all processes.
        store: where states are looked up and kept; they stay there and are mapped, not read.
        on_progress: called with the number of distinct texts done, and 0.
        team: processes that share the work.

    Raises:
        StoreError: the store of some process cannot be used.
    """
    texts: dict[str, tuple[int, str]] = {}
    for chunk in _chunks(list(dict.fromkeys(captions)), 4096):
        tokens = model.tokenize(chunk, [()] * len(chunk))
        counts = tokens.word_mask.sum(dim=1).tolist()
        texts.update({key: (n, text) for key, n, text in zip(keys_of(tokens), counts, chunk, strict=True)})
    prefix = model.text_fingerprint()
    names = {
        f"{prefix}/{key}": text for key, (_, text) in sorted(texts.items(), key=lambda item: (item[1][0], item[0]))
    }

    def compute(missing: Sequence[str], before: int) -> None:
        done = before
        for part in _chunks(missing, BATCH * _WRITTEN):
            items = {}
            for batch in _chunks(part, BATCH):
                tokens = model.tokenize([names[name] for name in batch], [()] * len(batch)).to(model.device)
                states = model.backbone.text_states(tokens).float().cpu()
                items.update(
                    {n: {"states": row} for n, row in zip(batch, cut(states, tokens.word_mask.cpu()), strict=True)}
                )
            store.put(items)
            done += len(part)
            if on_progress:
                on_progress(done, 0)

    with evaluating(model), torch.autocast(model.device.type, enabled=False):
        missing = agreed(team, lambda: store.missing(list(names)))
        share = missing[team.split(len(missing))]
        agreed(team, lambda: compute(share, len(names) - len(missing)))
        # What is still missing here another process has put on another machine's disk.
        rest = store.missing(list(names))
        agreed(team, lambda: compute(rest, len(names) - len(rest)))
    if on_progress:
        on_progress(len(names), 0)
    kept = store.get(list(names))
    return KeptTexts({name.removeprefix(f"{prefix}/"): item["states"] for name, item in kept.items()})


def _chunks(items: Sequence[str], size: int) -> list[list[str]]:
    source = iter(items)
    return [chunk for chunk in iter(lambda: list(itertools.islice(source, size)), [])]
