"""Our interaction and losses beside the public references, on the same numbers: a table for docs/parity.md.

    python benchmarks/parity.py --dmae DIR --drl DIR --clip4clip DIR

Each DIR is a checkout of alipay/Ant-Multi-Modal-Framework, foolwood/DRL, ArrowLuo/CLIP4Clip; one that is not given is
left out. `agree` cases have to agree to 1e-5; `depart` cases show where we do something else on purpose.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import parity_references as references
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from tvrkit.core.features import TextFeatures, VideoFeatures
from tvrkit.core.interaction import Interaction
from tvrkit.core.partial import TripletPartial
from tvrkit.losses import info_nce, neg_nce, triplet_partial_margin

TOLERANCE = 1e-5
B, W, F, D = 6, 7, 5, 32


@dataclass(frozen=True)
class Case:
    """One comparison: what, our value, the reference's, the largest difference of any entry."""

    name: str
    ours: Tensor
    theirs: Tensor
    agree: bool = True

    @property
    def difference(self) -> float:
        """Largest difference."""
        return float((self.ours - self.theirs).abs().max())

    @property
    def fine(self) -> bool:
        """Whether it came out as expected."""
        return (self.difference <= TOLERANCE) == self.agree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in BLOCKS:
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=f"checkout of {BLOCKS[name][0]}")
    options = vars(parser.parse_args())
    if not any(options.values()):
        sys.exit(f"Nothing to compare with: give {', '.join(f'--{name} DIR' for name in BLOCKS)}, or one of them.")
    wrong = 0
    print("| case | ours | reference | largest difference | |\n|---|---|---|---|---|")
    for name, (repository, block) in BLOCKS.items():
        if options[name] is None:
            print(f"| {repository}: not given, left out | | | | |")
            continue
        for case in block(options[name]):
            wrong += not case.fine
            verdict = ("agree" if case.agree else "depart") if case.fine else "NOT AS EXPECTED"
            numbers = f"{float(case.ours.mean()):.6f} | {float(case.theirs.mean()):.6f} | {case.difference:.1e}"
            print(f"| {case.name} | {numbers} | {verdict} |")
    sys.exit(f"{wrong} cases are not as expected." if wrong else 0)


def inputs(seed: int, pads: bool, cone: float, key_words: bool = False) -> tuple[TextFeatures, VideoFeatures]:
    """B matched pairs; `cone` 1 puts all vectors on one side, so that every similarity is above 0."""
    generator = torch.Generator().manual_seed(seed)

    def vectors(*shape: int) -> Tensor:
        return normalize(torch.randn(*shape, D, generator=generator) * (1 - 0.6 * cone) + cone, dim=-1)

    words = torch.ones(B, W, dtype=torch.bool)
    frames = torch.ones(B, F, dtype=torch.bool)
    if pads:
        words &= torch.arange(W) < torch.randint(3, W + 1, (B, 1), generator=generator)
        frames &= torch.arange(F) < torch.randint(2, F + 1, (B, 1), generator=generator)
    weights = words.float()
    if key_words:
        weights += (torch.rand(B, W, generator=generator) < 0.4) & words & (torch.arange(W) > 0)
    text = TextFeatures(vectors(B), vectors(B, W), words, weights)
    return text, VideoFeatures(vectors(B, F), frames)


def dmae_cases(folder: Path) -> Iterator[Case]:
    """Interaction, NegNCE and TPM-CL of the authors' release."""
    module = references.dmae(folder)
    for kind, side, nearest, pads in product(("ti", "wti"), ("sentence", "both"), (False, True), (False, True)):
        yield _interaction(module, kind, side, nearest, pads, layers=1 + nearest + pads)
    yield _interaction(module, "wti", "both", True, True, layers=2, key_words=True)
    yield _interaction(module, "ti", "both", True, True, layers=1, key_words=True)
    yield _interaction(module, "ti", "both", False, True, layers=1, cone=0.0)
    yield from _neg_nce(module)
    yield from _partial(module)


def _interaction(
    module: Any,
    kind: str,
    side: str,
    nearest: bool,
    pads: bool,
    layers: int,
    key_words: bool = False,
    cone: float = 1.0,
) -> Case:
    torch.manual_seed(layers)
    text, video = inputs(seed=layers, pads=pads, cone=cone, key_words=key_words)
    theirs = references.dmae_model(module, D, F, W, f"att_{kind}" if side == "both" else kind, nearest, layers)
    name = {"ti": "token_wise", "wti": "weighted_token_wise"}[kind]
    ours = Interaction(D, interaction=name, text_side=side, nearest_frame=nearest, weight_layers=layers)  # type: ignore[arg-type]
    if kind == "wti":
        _copy(theirs.video_weight_fc, ours.frame_weights)
        if side == "both":
            _copy(theirs.text_weight_fc, ours.word_weights)
    with torch.no_grad():
        found = ours(text, video)
        wanted = theirs.wti_interaction(
            text.text_features.unsqueeze(1),
            text.word_features if side == "both" else None,
            video.frame_features,
            text.word_weights,
            video.frame_mask.float(),
        )
    parts = [name, side]
    parts += ["nearest frame"] * nearest + ["key words"] * key_words + ["pads"] * pads
    parts += ["similarities below 0: pads compete at 0 in the reference"] * (cone == 0)
    return Case("; ".join(parts), found, wanted, agree=cone != 0)


def _copy(linear: nn.Module, weights: Any) -> None:
    layers = [linear] if isinstance(linear, nn.Linear) else [part for part in linear if isinstance(part, nn.Linear)]
    own = [part for part in weights.mlp if isinstance(part, nn.Linear)]
    for source, target in zip(layers, own, strict=True):
        target.load_state_dict(source.state_dict())


def _neg_nce(module: Any) -> Iterator[Case]:
    reference = module.NegNCE()

    def both(matrix: Tensor, scale: float) -> Tensor:
        return 0.5 * (reference(matrix, scale) + reference(matrix.T, scale))

    for size, scale, lift in ((8, 10.0, 0.6), (8, 20.0, 0.2), (32, 20.0, 0.1), (4, 100.0, 0.05)):
        generator = torch.Generator().manual_seed(size)
        matrix = torch.rand(size, size, generator=generator) * 0.3 + torch.eye(size) * lift
        if scale == 100:  # near one another, so that the reference's clamp does not bite
            matrix = 0.2 + matrix / 10
        matrix.requires_grad_()
        ours, theirs = neg_nce(matrix, scale), both(matrix, scale)
        own = matrix.diagonal().detach()
        hard = ((matrix > own[:, None]) | (matrix > own[None, :])) & ~torch.eye(size, dtype=torch.bool)
        name = f"NegNCE, B = {size}, k = {scale:g}, {int(hard.sum())} hard negatives"
        yield Case(name, ours.detach(), theirs.detach())
        gradients = (torch.autograd.grad(loss, matrix)[0] for loss in (ours, theirs))
        yield Case(f"{name}: gradient", *gradients)
    far = torch.tensor([[0.10, 0.30], [0.0, 0.30]], requires_grad=True)
    gradients = (torch.autograd.grad(loss, far)[0][0] for loss in (neg_nce(far, 100.0), both(far, 100.0)))
    yield Case(
        "NegNCE, a positive behind by .2 at k = 100: gradient (the reference's clamp cuts it)", *gradients, agree=False
    )
    plain = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    cross = module.CrossEn()
    yield Case("InfoNCE, B = 8, k = 100", info_nce(plain, 100.0), 0.5 * (cross(plain, 100.0) + cross(plain.T, 100.0)))


def _partial(module: Any) -> Iterator[Case]:
    torch.manual_seed(0)
    text, video = inputs(seed=3, pads=False, cone=0.5)
    theirs = references.dmae_model(module, D, F, W, "att_ti", False, 1)
    ours = TripletPartial(D, F, W)
    for own, other in ((ours.word_weights, theirs.v2t_linear_xwp), (ours.frame_weights, theirs.t2v_linear_xwp)):
        _copy_predictor(own, other)
    sentence, words, frames = text.text_features.unsqueeze(1), text.word_features, video.frame_features
    ones, one = torch.ones(B, W), torch.ones(B, 1, dtype=torch.bool)
    with torch.no_grad():
        word_weights = ours.word_weights(frames, video.frame_mask, words, text.word_mask)
        frame_weights = ours.frame_weights(sentence, one, frames, video.frame_mask)
        yield Case("TPM-CL, linear predictor, words from frames", word_weights, theirs.v2t_linear_xwp(frames, words))
        yield Case(
            "TPM-CL, linear predictor, frames from the sentence", frame_weights, theirs.t2v_linear_xwp(sentence, frames)
        )
        from tvrkit.core.cross_weights import select_tokens

        kept = select_tokens(word_weights, text.word_mask, 0.6)
        yield Case(
            "TPM-CL, selector at .6: which words stay", kept.float(), theirs.tis_selector(words, word_weights)[1]
        )
        orders = ours(text, video)
        matrices = theirs._get_partial_output((sentence, words), frames, ones, video.frame_mask.float(), partial_type=4)
        t2v, t2v_less, whole, whole_less, partial = (matrix.diagonal() for matrix in matrices[:5])
        yield Case("TPM-CL, s(sentence, V)", orders.positive[0], t2v)
        yield Case("TPM-CL, s(t_g, V)", orders.positive[1], whole)
        name = "the reference keeps removed frames as zeros, which compete in the maximum and count in the mean"
        yield Case(f"TPM-CL, s(sentence, V'): {name}", orders.negative[0], t2v_less, agree=False)
        yield Case("TPM-CL, s(t_g, V'): the same", orders.negative[1], whole_less, agree=False)
        shorter = orders.negative[2]
        yield Case("TPM-CL, s(t_g', V): the reference does not normalise t_g'", shorter, partial, agree=False)
        length = _length(word_weights, words, kept)
        yield Case("TPM-CL, s(t_g', V), ours times the length of t_g'", shorter * length, partial)
        loss = triplet_partial_margin(orders.positive, orders.negative, torch.ones_like(orders.valid), 0.6)
        reference = sum(
            theirs._get_partial_loss(a.diag(), b.diag())
            for a, b in ((t2v, t2v_less), (whole, whole_less), (whole, partial))
        )
        yield Case("TPM-CL, the sum at margin .6: follows from the three above", loss, reference, agree=False)
        same = triplet_partial_margin(
            torch.stack([t2v, whole, whole]),
            torch.stack([t2v_less, whole_less, partial]),
            torch.ones(3, B, dtype=torch.bool),
            0.6,
        )
        yield Case("TPM-CL, our hinge on the reference's own similarities", same, reference)
    yield from _many_pairs(module, ours, theirs)


def _many_pairs(module: Any, ours: TripletPartial, theirs: Any) -> Iterator[Case]:
    """Beyond 8 pairs the reference splits texts by 8 and videos by 16, and lays the blocks out differently."""
    parts = [inputs(seed=10 + n, pads=False, cone=0.5) for n in range(3)]
    text = TextFeatures(
        *(
            torch.cat([getattr(t, name) for t, _ in parts])
            for name in ("text_features", "word_features", "word_mask", "word_weights")
        )
    )
    video = VideoFeatures(
        *(torch.cat([getattr(v, name) for _, v in parts]) for name in ("frame_features", "frame_mask"))
    )
    rows = slice(0, 12)
    text, video = text[rows], video[rows]
    with torch.no_grad():
        orders = ours(text, video)
        among, alone = (
            theirs._get_partial_output(
                (text.text_features[:8].unsqueeze(1), text.word_features[:8]),
                video.frame_features[:videos],
                torch.ones(8, W),
                video.frame_mask[:videos].float(),
                partial_type=4,
            )
            for videos in (12, 8)
        )
    yield Case("TPM-CL, s(t_g, V) of 12 pairs, texts in blocks of 8", orders.positive[1][:8], among[2].diagonal())
    name = "TPM-CL, s(t_g, V'): the reference by itself, 8 pairs alone and the same among 12 (t_g of other texts)"
    yield Case(name, alone[3].diagonal(), among[3].diagonal(), agree=False)


def _length(weights: Tensor, words: Tensor, kept: Tensor) -> Tensor:
    return (weights.masked_fill(~kept, 0.0).unsqueeze(1) @ words).squeeze(1).norm(dim=-1)


def _copy_predictor(own: Any, other: Any) -> None:
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        own.along_tokens.weight.copy_(other.qk_proj.weight)
        own.gain.copy_(other.attn_proj[0].weight)
        own.shift.copy_(other.attn_proj[0].bias)
        own.hidden.weight.copy_(other.attn_proj[1].weight)
        own.out.weight.copy_(other.attn_proj[3].weight)


def drl_cases(folder: Path) -> Iterator[Case]:
    """DRL's token-wise and weighted token-wise interaction of words and frames."""
    reference = references.drl(folder)
    for kind, pads, layers in product(("ti", "wti"), (False, True), (1, 3)):
        text, video = inputs(seed=20 + layers, pads=pads, cone=1.0)
        name = {"ti": "token_wise", "wti": "weighted_token_wise"}[kind]
        ours = Interaction(D, interaction=name, text_side="words", weight_layers=layers)  # type: ignore[arg-type]
        holder = SimpleNamespace(training=False, config=SimpleNamespace(interaction=kind))
        if kind == "wti":
            assert ours.word_weights is not None and ours.frame_weights is not None
            holder.text_weight_fc, holder.video_weight_fc = ours.word_weights.mlp, ours.frame_weights.mlp
        with torch.no_grad():
            wanted = reference.wti_interaction(
                holder, text.word_features, video.frame_features, text.word_mask.float(), video.frame_mask.float()
            )
            yield Case(f"DRL, {name}, {layers} layers{', pads' * pads}", ours(text, video), wanted[0])


def clip4clip_cases(folder: Path) -> Iterator[Case]:
    """CLIP4Clip's mean pooling (meanP)."""
    reference = references.clip4clip(folder)
    for pads, cone in product((False, True), (1.0, 0.0)):
        text, video = inputs(seed=30, pads=pads, cone=cone)
        ours = Interaction(D, interaction="dot_product")
        with torch.no_grad():
            pooled = reference._mean_pooling_for_similarity_visual(None, video.frame_features, video.frame_mask)
            wanted = text.text_features @ normalize(pooled, dim=-1).T
            yield Case(f"CLIP4Clip, meanP{', pads' * pads}{', any sign' * (cone == 0)}", ours(text, video), wanted)


BLOCKS: dict[str, tuple[str, Callable[[Path], Iterator[Case]]]] = {
    "dmae": ("alipay/Ant-Multi-Modal-Framework", dmae_cases),
    "drl": ("foolwood/DRL", drl_cases),
    "clip4clip": ("ArrowLuo/CLIP4Clip", clip4clip_cases),
}

if __name__ == "__main__":
    main()
