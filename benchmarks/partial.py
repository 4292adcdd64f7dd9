"""TPM-CL on matched pairs, O(B), against all B x B pairs of which only the diagonal is used.

The all-pairs form is our own module called for every text with every video, in blocks, as the authors' code does it;
forward and backward. At B = 128 all pairs take a minute and 12 GB, so two of their 16 blocks are run and taken eight
times, unless `--large` runs all. `python benchmarks/partial.py [--small | --large]`
"""

from __future__ import annotations

import argparse

import torch
from timing import medians, peak_bytes, row, turns
from torch.nn.functional import normalize

from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.partial import PartialOrders, TripletPartial
from tvrkit.losses import triplet_partial_margin

WORDS, FRAMES, BLOCK = 32, 12, 8


def make_batch(size: int, dim: int) -> tuple[TextFeatures, VideoFeatures]:
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> torch.Tensor:
        return normalize(torch.randn(*shape, generator=generator), dim=-1).requires_grad_()

    mask = torch.ones(size, WORDS, dtype=torch.bool)
    return (
        TextFeatures(unit(size, dim), unit(size, WORDS, dim), mask, mask.float()),
        VideoFeatures(unit(size, FRAMES, dim), torch.ones(size, FRAMES, dtype=torch.bool)),
    )


def all_pairs(
    model: TripletPartial, text: TextFeatures, video: VideoFeatures, texts_at_most: int | None = None
) -> PartialOrders:
    """Orders of every text (or of the first ones) with every video, (3, B, B), and their diagonal."""
    size = len(text)
    rows = []
    for start in range(0, texts_at_most or size, BLOCK):
        block = torch.arange(start, min(start + BLOCK, size))
        texts = block.repeat_interleave(size)
        rows.append(model(text[texts], video[torch.arange(size).repeat(len(block))]))
    diagonal = [
        torch.cat([getattr(row, name).view(3, -1, size) for row in rows], dim=1).diagonal(dim1=1, dim2=2)
        for name in ("positive", "negative", "valid")
    ]
    return PartialOrders(*diagonal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--large", action="store_true", help="all pairs at B = 128 too")
    options = parser.parse_args()
    sizes, dim, rounds = ((8, 32), 512, 2) if options.small else ((16, 32, 64, 128), 512, 3)
    torch.manual_seed(0)
    model = TripletPartial(dim, FRAMES, WORDS)
    print(f"D {dim}, {FRAMES} frames, {WORDS} words, forward + backward, {torch.get_num_threads()} thread(s)")
    print(f"{'B':>4} {'pairs':>9} {'all pairs':>11} {'ratio':>7} {'memory':>19}")
    for size in sizes:
        text, video = make_batch(size, dim)

        def step(orders: PartialOrders) -> torch.Tensor:
            loss = triplet_partial_margin(orders.positive, orders.negative, orders.valid, 0.1)
            loss.backward()
            return loss.detach()

        def ours(text: TextFeatures = text, video: VideoFeatures = video) -> torch.Tensor:
            return step(model(text, video))

        def theirs(text: TextFeatures = text, video: VideoFeatures = video) -> torch.Tensor:
            return step(all_pairs(model, text, video))

        def theirs_in_part(text: TextFeatures = text, video: VideoFeatures = video) -> torch.Tensor:
            return step(all_pairs(model, text, video, 2 * BLOCK))

        if size > 64 and not options.large:
            seconds = turns({"ours": ours, "theirs": theirs_in_part}, 2)
            seconds["theirs"] = [value * size / (2 * BLOCK) for value in seconds["theirs"]]
            times, note = medians(seconds), f"from 2 of {size // BLOCK} blocks of all pairs"
            line = (
                f"{size:>4} {1e3 * times['ours']:>6.0f} ms {1e3 * times['theirs']:>8.0f} ms"
                f" {times['theirs'] / times['ours']:>7.1f}  ({note})"
            )
        else:
            torch.testing.assert_close(ours(), theirs())
            # One call of each a round, fewer rounds where all pairs take a minute.
            seconds = turns({"ours": ours, "theirs": theirs}, rounds if size < 64 else 1)
            times = medians(seconds)
            memory = peak_bytes(ours) / 2**20, peak_bytes(theirs) / 2**20
            note = f"holds {memory[0]:.0f} MB, the rival {memory[1]:.0f} MB"
            line = (
                f"{size:>4} {1e3 * times['ours']:>6.0f} ms {1e3 * times['theirs']:>8.0f} ms"
                f" {times['theirs'] / times['ours']:>7.1f} {memory[0]:>6.0f} of {memory[1]:>6.0f} MB"
            )
        print(line, flush=True)
        case = f"forward and backward, B = {size}, D {dim}, {FRAMES} frames, {WORDS} words"
        row(case, "all pairs, only the diagonal used", seconds["ours"], seconds["theirs"], note=note)
        ratio = times["theirs"] / times["ours"]
    if sizes[-1] == 128:
        print(f"at B = 128: {ratio:.0f} times faster (goal: at least 100, {'met' if ratio >= 100 else 'NOT met'})")


if __name__ == "__main__":
    main()
