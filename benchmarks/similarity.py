"""Scores of a whole test set under the full method, against the same formula on the whole tensor, block by block.

1,000 captions and 1,000 videos, 32 words, 12 frames, 512 dimensions: sentence and words, key-word weights, learned
pooling, nearest-frame attention. `plain` is what one writes first and what the field's code does: for blocks of N
captions and N videos it builds (N, N, words, frames) and takes every step on it. N is a trade: small blocks hold little
and are slow (DRL's own evaluation takes 32), large ones are faster and hold much. `python benchmarks/similarity.py`
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from timing import medians, peak_bytes, row, turns
from torch import Tensor
from torch.nn.functional import normalize

from tvrkit.config import ModelConfig
from tvrkit.core import RetrievalModel, TextFeatures, VideoFeatures, build_model
from tvrkit.core.interaction import Interaction, nearest_frames
from tvrkit.evaluate import similarity_matrix

WORDS, FRAMES, DIM = 32, 12, 512
MB = 2**20


def make_case(size: int, ragged: bool) -> tuple[TextFeatures, VideoFeatures]:
    """As many videos as captions; ragged: 8 to 16 real words, as MSR-VTT's captions have, half of them key words."""
    generator = torch.Generator().manual_seed(0)
    length = torch.randint(8, 17, (size, 1), generator=generator) if ragged else torch.tensor([[WORDS]])
    mask = (torch.arange(WORDS) < length).expand(size, -1)
    weights = (1.0 + (torch.rand(size, WORDS, generator=generator) < 0.5)) * mask

    def unit(*shape: int) -> Tensor:
        return normalize(torch.randn(*shape, DIM, generator=generator), dim=-1)

    text = TextFeatures(unit(size), unit(size, WORDS), mask, weights)
    return text, VideoFeatures(unit(size, FRAMES), torch.ones(size, FRAMES, dtype=torch.bool))


def plain_block(interaction: Interaction, text: TextFeatures, video: VideoFeatures) -> Tensor:
    """The formula, every step on the (t, v, w, f) tensor."""
    frames, frame_mask = video.frame_features, video.frame_mask
    frame_pool = interaction.frame_weights(frames, frame_mask)
    gain, neighbour = nearest_frames(frames, frame_mask)
    one = torch.ones(len(text), 1, dtype=torch.bool)
    word_pool = interaction.word_weights(text.word_features, text.word_mask) * text.word_weights
    halves = []
    for words, mask, pool in (
        (text.text_features.unsqueeze(1), one, one.float()),
        (text.word_features, text.word_mask, word_pool),
    ):
        raw = torch.einsum("twd,vfd->tvwf", words, frames)
        scores = raw.masked_fill(~mask[:, None, :, None], -torch.inf)
        scores = scores.masked_fill(~frame_mask[None, :, None, :], -torch.inf)
        best, at = scores.max(dim=3)
        near_gain, near = (x.expand(len(at), -1, -1).gather(2, at) for x in (gain, neighbour))
        best = best + 0.5 * near_gain * raw.gather(3, near.unsqueeze(3)).squeeze(3)
        by_word = torch.einsum("tw,tvw->tv", pool, best.masked_fill(~mask[:, None], 0.0))
        by_frame = torch.einsum("vf,tvf->tv", frame_pool, scores.amax(dim=2).masked_fill(~frame_mask[None], 0.0))
        halves.append(0.5 * (by_word + by_frame))
    return torch.stack(halves).mean(dim=0)


def plain(interaction: Interaction, text: TextFeatures, video: VideoFeatures, block: int) -> Tensor:
    """All blocks."""
    result = torch.empty(len(text), len(video))
    for t in range(0, len(text), block):
        for v in range(0, len(video), block):
            part = plain_block(interaction, text[t : t + block], video[v : v + block])
            result[t : t + block, v : v + block] = part
    return result


def full_method() -> RetrievalModel:
    """A model whose towers are as good as nothing, and whose interaction is the full method on 512 dimensions."""
    vision = {"image_size": 16, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
    text = {"context_length": 77, "width": 16, "heads": 1, "layers": 1}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "open_clip_config.json"
        path.write_text(json.dumps({"embed_dim": DIM, "vision_cfg": vision, "text_cfg": text}))
        config = ModelConfig(
            backbone=str(path), pretrained=None, interaction="weighted_token_wise", key_words=True, nearest_frame=True
        )
        return build_model(config)


@torch.no_grad()
def compare(size: int, ragged: bool, blocks: tuple[int, ...], rounds: int) -> None:
    """Print one table: what each way takes and holds."""
    torch.manual_seed(0)
    model = full_method()
    interaction = model.interaction
    text, video = make_case(size, ragged)
    real = text.word_features[text.word_mask], video.frame_features.flatten(0, 1)

    def products() -> None:
        for rows in real[0].split(512):
            rows @ real[1].T

    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: interaction(text, video),
        "ours, float64 as eval": lambda: similarity_matrix(model, text, video.frame_features, video.frame_mask),
        "bare matrix products": products,
    }
    ways |= {f"plain, blocks of {n}": lambda n=n: plain(interaction, text, video, n) for n in blocks}
    torch.testing.assert_close(ways["ours"](), plain(interaction, text, video, blocks[0]), rtol=1e-4, atol=1e-5)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    taken = turns(ways, rounds)
    seconds = medians(taken)
    held = {name: peak_bytes(way) for name, way in ways.items()}
    print(f"\n{size} x {size}, {'8-16' if ragged else WORDS} real words of {WORDS}, load {load:.1f} before")
    print(f"{'':<24} {'seconds':>8} {'x ours':>7} {'peak MB':>8} {'x ours':>7}")
    for name in ways:
        print(
            f"{name:<24} {seconds[name]:>8.2f} {seconds[name] / seconds['ours']:>7.2f}"
            f" {held[name] / MB:>8.1f} {held[name] / held['ours']:>7.2f}"
        )
    for name in (name for name in ways if name.startswith("plain")):
        note = f"holds {held['ours'] / MB:.0f} MB, the rival {held[name] / MB:.0f} MB"
        what = f"{size} captions x {size} videos, full method, {'8-16' if ragged else WORDS} real words"
        row(what, name, taken["ours"], taken[name], note=note)


@torch.no_grad()
def growth(sizes: tuple[int, ...]) -> None:
    """Print how the peak grows with the size of the set, beside the result and the whole tensor."""
    model = full_method()
    print(f"\n{'peak MB':<14} {'ours':>7} {'as eval':>8} {'of which result':>16} {'whole (T, V, W, F)':>20}")
    for size in sizes:
        text, video = make_case(size, True)
        ours = peak_bytes(lambda text=text, video=video: model.interaction(text, video))
        exact = peak_bytes(
            lambda text=text, video=video: similarity_matrix(model, text, video.frame_features, video.frame_mask)
        )
        whole = size * size * WORDS * FRAMES * 4
        name = f"{size} x {size}"
        print(f"{name:<14} {ours / MB:>7.1f} {exact / MB:>8.1f} {size * size * 4 / MB:>16.1f} {whole / MB:>20.1f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} thread(s), full method, {FRAMES} frames, {DIM} dimensions")
    size, blocks, rounds = (64, (32,), 1) if options.small else (1000, (32, 100, 250, 500), options.rounds)
    for ragged in (False, True):
        compare(size, ragged, blocks, rounds)
    growth((32, 64) if options.small else (250, 500, 1000))


if __name__ == "__main__":
    main()
