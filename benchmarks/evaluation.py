"""Ranks of a finished matrix of scores, both directions, against sorting it.

`numpy argsort` and `torch argsort` are what the field's evaluation code does: sort every row, look where the right
column went. Where scores tie they give whatever the sort gives; ours shares the credit, and counts without sorting.
Memory is what a call holds at its peak beyond the matrix.

    python benchmarks/evaluation.py            # 1,000, 5,000 x 1,000 and 10,000 x 10,000; some minutes, 3 GB
    python benchmarks/evaluation.py --small    # 1,000 x 1,000 and 5,000 x 1,000; seconds
"""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Callable

import numpy as np
import torch
from timing import medians, peak_bytes, row, turns

from tvrkit.metrics.ranking import text_to_video_ranks, video_to_text_ranks

SMALL, FULL = ((1000, 1000), (5000, 1000)), ((1000, 1000), (5000, 1000), (10_000, 10_000))
MB = 2**20


def case(texts: int, videos: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores without ties, float32, the right ones raised; the video of each text, as many texts for each."""
    generator = torch.Generator().manual_seed(0)
    owner = torch.arange(texts) // (texts // videos)
    scores = torch.randn(texts, videos, generator=generator)
    scores[torch.arange(texts), owner] += 2.0
    return scores, owner


def ours(scores: torch.Tensor, owner: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    return text_to_video_ranks(scores, owner).place, video_to_text_ranks(scores, owner).place


def by_numpy(scores: torch.Tensor, owner: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Every row sorted; for the other direction the best text of each video, then the same."""
    array, right = scores.numpy(), owner.numpy()
    best = array.reshape(array.shape[1], -1, array.shape[1]).max(axis=1).T
    places = [np.argsort(-rows, axis=1) == own[:, None] for rows, own in ((array, right), (best, np.arange(len(best))))]
    return tuple(np.nonzero(found)[1] + 1.0 for found in places)


def by_torch(scores: torch.Tensor, owner: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    best = scores.view(scores.shape[1], -1, scores.shape[1]).amax(dim=1).T
    found = [
        rows.argsort(dim=1, descending=True) == own[:, None]
        for rows, own in ((scores, owner), (best, torch.arange(len(best))))
    ]
    return tuple(one.nonzero()[:, 1].numpy() + 1.0 for one in found)


def held(function: Callable[[], object]) -> int:
    """Peak bytes of a call, tensors and arrays; an upper bound where it uses both."""
    tracemalloc.start()
    function()
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return arrays + peak_bytes(function)


def compare(texts: int, videos: int, rounds: int) -> None:
    scores, owner = case(texts, videos)
    ways = {
        name: lambda way=way: way(scores, owner)
        for name, way in {"tvrkit": ours, "numpy argsort": by_numpy, "torch argsort": by_torch}.items()
    }
    for name in ("numpy argsort", "torch argsort"):
        for a, b in zip(ways["tvrkit"](), ways[name](), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
    seconds = turns(ways, rounds)
    memory = {name: held(way) / MB for name, way in ways.items()}
    size, middle = f"{texts} texts x {videos} videos", medians(seconds)
    print(f"\n{size}, the matrix has {scores.nbytes / MB:.0f} MB")
    for name in ways:
        ratio = middle[name] / middle["tvrkit"]
        print(f"  {name:15}{middle[name] * 1e3:9.1f} ms{ratio:8.2f} x{memory[name]:9.1f} MB beyond the matrix")
        if name != "tvrkit":
            note = f"holds {memory['tvrkit']:.0f} MB, the rival {memory[name]:.0f} MB"
            row(f"ranks both ways, {size}", name, seconds["tvrkit"], seconds[name], note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--rounds", type=int, help="measurements of each way (default 5; 3 if small)")
    options = parser.parse_args()
    for texts, videos in SMALL if options.small else FULL:
        compare(texts, videos, options.rounds or (3 if options.small else 5))


if __name__ == "__main__":
    main()
