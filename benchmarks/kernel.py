"""Token-wise similarity: our kernel against the whole tensor at once, and against bare matrix products.

The lower bound is one product of all real tokens (forward), or three of them (forward and backward): nothing that
computes every word-frame similarity by matrix products can be faster. `python benchmarks/kernel.py [--small]`
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from timing import medians, peak_bytes, row, turns
from torch import Tensor
from torch.nn.functional import normalize

from tvrkit.core.interaction import nearest_frames, pooling_weights
from tvrkit.core.late_interaction import late_interaction


@dataclass
class Case:
    """Texts and videos to be compared."""

    words: Tensor
    word_mask: Tensor
    frames: Tensor
    frame_mask: Tensor
    attention: bool

    def kernel(self) -> Tensor:
        a = pooling_weights(self.word_mask, self.word_mask)
        b = pooling_weights(self.frame_mask, self.frame_mask)
        nearest = nearest_frames(self.frames, self.frame_mask) if self.attention else None
        return late_interaction(self.words, self.word_mask, a, self.frames, self.frame_mask, b, nearest=nearest)

    def whole(self) -> Tensor:
        """What one writes first: one einsum, and every step on the (T, V, W, F) tensor."""
        raw = torch.einsum("twd,vfd->tvwf", self.words, self.frames)
        scores = raw.masked_fill(~self.word_mask[:, None, :, None], -torch.inf)
        scores = scores.masked_fill(~self.frame_mask[None, :, None, :], -torch.inf)
        best, at = scores.max(dim=3)
        if self.attention:
            gain, neighbour = nearest_frames(self.frames, self.frame_mask)
            gain, neighbour = (x.expand(len(at), -1, -1).gather(2, at) for x in (gain, neighbour))
            best = best + 0.5 * gain * raw.gather(3, neighbour.unsqueeze(3)).squeeze(3)
        a = pooling_weights(self.word_mask, self.word_mask)
        b = pooling_weights(self.frame_mask, self.frame_mask)
        by_word = torch.einsum("tw,tvw->tv", a, best.masked_fill(~self.word_mask[:, None], 0.0))
        by_frame = torch.einsum("vf,tvf->tv", b, scores.amax(dim=2).masked_fill(~self.frame_mask[None], 0.0))
        return 0.5 * (by_word + by_frame)

    def train(self, similarity: Tensor) -> None:
        self.words.grad = self.frames.grad = None
        similarity.square().sum().backward()


def make_case(texts: int, words: int, frames: int, dim: int, ragged: bool, attention: bool) -> Case:
    """As many videos as texts; ragged: 8 to 16 real words of `words`, as captions have."""
    generator = torch.Generator().manual_seed(0)
    length = torch.randint(8, 17, (texts, 1), generator=generator) if ragged else torch.tensor([[words]])
    word_mask = (torch.arange(words) < length).expand(texts, -1)
    return Case(
        normalize(torch.randn(texts, words, dim, generator=generator), dim=-1),
        word_mask,
        normalize(torch.randn(texts, frames, dim, generator=generator), dim=-1),
        torch.ones(texts, frames, dtype=torch.bool),
        attention,
    )


def compare(case: Case, rounds: int, training: bool) -> tuple[dict[str, list[float]], dict[str, int]]:
    case.words.requires_grad_(training)
    case.frames.requires_grad_(training)
    left = case.words.detach()[case.word_mask]
    right = case.frames.detach()[case.frame_mask]

    def products() -> None:
        scores = left @ right.T
        if training:
            scores @ right, scores.T @ left

    def ours() -> None:
        case.train(case.kernel()) if training else case.kernel()

    def naive() -> None:
        case.train(case.whole()) if training else case.whole()

    with torch.set_grad_enabled(training):
        torch.testing.assert_close(case.kernel(), case.whole(), rtol=1e-4, atol=1e-5)
        times = turns({"ours": ours, "whole": naive, "products": products}, rounds)
        memory = {"ours": peak_bytes(ours), "whole": peak_bytes(naive)}
    return times, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    small = parser.parse_args().small
    texts, rounds, dims = (48, 3, (128,)) if small else (128, 5, (128, 512))
    print(f"{texts} texts x {texts} videos, 32 words, 12 frames, {torch.get_num_threads()} thread(s)")
    print(f"{'case':<42} {'ours':>9} {'x whole':>8} {'x products':>11} {'memory':>17}")
    for dim in dims:
        for training in (False, True):
            for ragged in (False, True):
                for attention in (False, True):
                    case = make_case(texts, 32, 12, dim, ragged, attention)
                    seconds, memory = compare(case, rounds, training)
                    times = medians(seconds)
                    name = (
                        f"D {dim}, {'train' if training else 'score'}, {'8-16' if ragged else '32'} words"
                        f"{', visual attention' if attention else ''}"
                    )
                    print(
                        f"{name:<42} {1e3 * times['ours']:>6.0f} ms {times['ours'] / times['whole']:>8.2f}"
                        f" {times['ours'] / times['products']:>11.2f}"
                        f" {memory['ours'] / 2**20:>5.0f} of {memory['whole'] / 2**20:>5.0f} MB"
                    )
                    note = f"holds {memory['ours'] / 2**20:.0f} MB, the rival {memory['whole'] / 2**20:.0f} MB"
                    size = f"{texts} x {texts}, {name}"
                    row(size, "the whole (T, V, W, F) tensor", seconds["ours"], seconds["whole"], note=note)


if __name__ == "__main__":
    main()
