"""What each part of the method brings on the built-in benchmark: the table of docs/training.md.

Every row is the preset `tiny` with the settings named, trained with several seeds, chosen on `val`, measured on `test`
and on the hard gallery. Give the folder of a prepared `shapes`; `--small` renders a fiftieth of it and takes five steps
of one seed, which shows that it runs and nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from timing import skipped

from tvrkit.config import load_config
from tvrkit.core import load_model
from tvrkit.encode import frame_cache
from tvrkit.evaluate import encode_split, evaluate_encoded, evaluate_hard
from tvrkit.manifest import MANIFEST_NAME, read_manifest
from tvrkit.prepare.shapes import prepare_shapes
from tvrkit.store import FeatureStore
from tvrkit.train.loop import train

DMAE = ("model.text_side=both", "model.key_words=true", "model.nearest_frame=true")
ROWS = {
    "mean of frames, InfoNCE": ("model.temporal=mean", "model.interaction=dot_product"),
    "+ temporal transformer": ("model.interaction=dot_product",),
    "+ token-wise words (the preset)": (),
    "preset + NegNCE": ("loss.name=neg_nce",),
    "preset + DMAE": DMAE,
    "preset + DMAE + NegNCE + TPM-CL": (*DMAE, "loss.name=neg_nce", "loss.partial_weight=0.5"),
}


def measure(data: Path, folder: Path, settings: tuple[str, ...]) -> tuple[float, ...]:
    """R@1 t2v and v2t on test, and two numbers of the hard gallery, of one run."""
    train(load_config("tiny", [f"data.dataset={data}", *settings]), folder)
    model, manifest = load_model(folder), read_manifest(data / MANIFEST_NAME)
    with FeatureStore(frame_cache(model)) as store:
        test = evaluate_encoded(model, manifest, "test", encode_split(model, manifest, "test", store=store))
        hard = evaluate_hard(model, manifest, encode_split(model, manifest, "hard", store=store))
    return test.t2v.recall_at[1], test.v2t.recall_at[1], hard.caption_chosen, hard.clip_found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=Path("data/shapes"))
    parser.add_argument("--small", action="store_true", help="a fiftieth of the data, one seed, five steps")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as temporary:
        data, seeds, settings = arguments.data, arguments.seeds, ()
        if arguments.small:
            data, seeds, settings = Path(temporary) / "shapes", 1, ("train.max_steps=5",)
            prepare_shapes(data, scale=0.02)
        print("| | R@1 t2v | R@1 v2t | caption chosen | clip found |\n|---|---|---|---|---|", flush=True)
        for name, parts in ROWS.items():
            runs = [
                measure(data, Path(temporary) / f"{name} {seed}", (*parts, *settings, f"train.seed={seed}"))
                for seed in range(seeds)
            ]
            cells = [_mean_and_spread(row) for row in zip(*runs, strict=True)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        if arguments.small:
            skipped(
                "accuracy of each part",
                "five steps show that it runs and nothing else; the numbers are in docs/training.md",
            )


def _mean_and_spread(values: tuple[float, ...]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
