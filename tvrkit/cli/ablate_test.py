"""The runs of a ladder on the test split and the hard gallery, each measured once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tvrkit.cli import output

if TYPE_CHECKING:
    from tvrkit.train.sweep import Result

SPLIT = "test"


def on_test(results: Sequence[Result], device: str) -> tuple[str, Callable[[Result, str], float | None]]:
    """Evaluate every finished run on `test` and, where there is one, on the hard gallery; what was measured is read.

    Returns:
        the split, and a function from a result and `t2v/R@1` or its like to the number.
    """
    numbers = {}
    with output.progress("Measuring on test", len(results)) as bar:
        for result in results:
            if result.metrics is not None:
                numbers[result.run] = _measure(result, device)
            bar.advance(1)

    def value(result: Result, name: str) -> float | None:
        direction, _, metric = name.partition("/")
        return numbers.get(result.run, {}).get(direction, {}).get(metric)

    return SPLIT, value


def _measure(result: Result, device: str) -> dict[str, dict[str, float]]:
    from tvrkit.cli.options import choose_device
    from tvrkit.core import load_model
    from tvrkit.encode import frame_cache
    from tvrkit.evaluate import HARD_SPLIT, encode_split, evaluate, evaluate_hard
    from tvrkit.files import write_json
    from tvrkit.manifest import read_manifest
    from tvrkit.store import FeatureStore
    from tvrkit.workspace import manifest_path

    config = result.case.config
    kept = result.run / "test.json"
    if kept.is_file():
        known: dict[str, dict[str, float]] = json.loads(kept.read_text(encoding="utf-8"))
        return known
    model = load_model(result.run).to(choose_device(device))
    manifest = read_manifest(manifest_path(config.data.dataset))
    # Runs with one frozen image tower share what it computes.
    with FeatureStore(frame_cache(model)) as store:
        tree = evaluate(model, manifest, split=SPLIT, store=store).to_dict()
        numbers = {direction: tree[direction] for direction in ("t2v", "v2t")}
        if HARD_SPLIT in manifest.splits():
            numbers["hard"] = evaluate_hard(
                model, manifest, encode_split(model, manifest, HARD_SPLIT, store=store)
            ).to_dict()
    write_json(kept, numbers)
    return numbers
