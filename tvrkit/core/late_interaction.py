"""The one kernel: token-wise similarity of every text with every video, never as a whole (T, V, W, F) tensor.

    S[t, v] = 1/2 [ sum_w a[t, w] r+(w) + sum_f b[v, f] c(f) ]

`r+` is a word's best frame (plus its nearest frame's share), `c` a frame's best word (arXiv 2309.11082, section 3;
method of DRL and ColBERT before it). What makes it fast: texts are sorted by length and pads never multiplied; a
tile of word-frame similarities is one matrix product that stays in cache, laid out (text, word, frame, video) so
that both maxima run along contiguous memory; training keeps the position of each winner (one byte), from which the
backward pass rebuilds a tile's gradient without its product.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tvrkit.core.masking import require_real, widen
from tvrkit.core.packing import Packing, Plan, Scratch

# Word-frame similarities held at once, of 4 bytes each: 2 MB stays in a CPU's cache; a GPU wants longer kernels.
_CHUNK = {"cpu": 2**19}
_CHUNK_ELSEWHERE = 2**25


def late_interaction(
    words: Tensor,
    word_mask: Tensor,
    word_pool: Tensor,
    frames: Tensor,
    frame_mask: Tensor,
    frame_pool: Tensor,
    *,
    nearest: tuple[Tensor, Tensor] | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Similarity of T texts with V videos (paper section 3, token-wise interaction and visual attention).

    Args:
        words: (T, W, D) word features, any float type; products and sums are in float32, or float64 for that.
        word_mask: (T, W) bool. A masked word never wins a maximum.
        word_pool: (T, W) weights a of the words; counted as 0 where masked.
        frames: (V, F, D) frame features.
        frame_mask: (V, F) bool.
        frame_pool: (V, F) weights b of the frames; counted as 0 where masked.
        nearest: g (V, F) and nb (V, F) of `nearest_frames`, or None for no visual attention.
        chunk: word-frame similarities held at once; None chooses by device. The result does not depend on it
            beyond rounding (1e-7).

    Returns:
        (T, V) float32 (float64 for float64 features), unscaled.

    Raises:
        ValueError: a row of a mask has nothing real, or the feature dimensions differ.
    """
    if words.shape[-1] != frames.shape[-1]:
        raise ValueError(f"words have {words.shape[-1]} dimensions, frames have {frames.shape[-1]}")
    require_real(word_mask, "word_mask")
    require_real(frame_mask, "frame_mask")
    texts, videos = Packing(word_mask), Packing(frame_mask)
    dtype = torch.promote_types(widen(words[:0]).dtype, frames.dtype)
    chunk = chunk or _CHUNK.get(words.device.type, _CHUNK_ELSEWHERE) * 4 // dtype.itemsize
    gain = neighbour = None
    if nearest is not None:
        gain, neighbour = videos.values(nearest[0].to(dtype)), videos.positions(nearest[1])
    inputs = (
        texts.features(words),
        videos.features(frames),
        texts.pool(word_pool.to(dtype)),
        videos.pool(frame_pool.to(dtype)),
        gain,
    )
    plan = Plan(texts.lengths, videos.lengths, chunk)
    with torch.autocast(words.device.type, enabled=False):
        if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
            similarity: Tensor = _LateInteraction.apply(*inputs, neighbour, plan)
        else:
            similarity = _forward(*inputs, neighbour, plan, None)
    return videos.restore(texts.restore(similarity, 0), 1)


class _Winners(NamedTuple):
    """What the backward pass of a tile needs; values only where their weights need a gradient."""

    best_frame: Tensor  # (t, w, v) uint8 or int16
    best_word: Tensor  # (t, f, v)
    row: Tensor | None  # (t, w, v) r+, for the gradient of a
    column: Tensor | None  # (t, f, v) c, for the gradient of b
    second: Tensor | None  # (t, w, v) similarity with the nearest frame, for the gradient of g


class _Needs(NamedTuple):
    """Which inputs need a gradient."""

    words: bool
    frames: bool
    word_pool: bool
    frame_pool: bool
    gain: bool


def _forward(
    words: Tensor,
    frames: Tensor,
    word_pool: Tensor,
    frame_pool: Tensor,
    gain: Tensor | None,
    neighbour: Tensor | None,
    plan: Plan,
    needs: _Needs | None,
    winners: list[_Winners] | None = None,
) -> Tensor:
    """All tiles; with `winners` given, remembers in it what the backward pass needs."""
    similarity = word_pool.new_empty(len(words), len(frames))
    scratch = Scratch(word_pool)
    for v, longest in plan.videos():
        block = _frame_rows(frames[v, :longest], word_pool.dtype)
        count = v.stop - v.start
        attention = None
        if gain is not None and neighbour is not None:
            attention = (gain[v, :longest].T, neighbour[v, :longest].T)
        for t, length in plan.texts(len(block)):
            rows = words[t, :length].to(block.dtype).flatten(0, 1)
            tile = torch.mm(rows, block.T, out=scratch.take(len(rows), len(block)))
            tile = tile.view(-1, length, longest, count)
            row, column, kept = _maxima(tile, attention, needs)
            if winners is not None and kept is not None:
                winners.append(kept)
            by_word = torch.bmm(word_pool[t, None, :length], row).squeeze(1)
            by_frame = (column * frame_pool[v, :longest].T).sum(dim=1)
            similarity[t, v] = 0.5 * (by_word + by_frame)
    return similarity


def _frame_rows(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """(v, f, D) to (f * v, D): videos innermost, so that maxima over frames read contiguous memory."""
    return frames.transpose(0, 1).to(dtype).flatten(0, 1)


def _maxima(
    tile: Tensor, attention: tuple[Tensor, Tensor] | None, needs: _Needs | None
) -> tuple[Tensor, Tensor, _Winners | None]:
    """r+ (t, w, v) and c (t, f, v) of a tile (t, w, f, v); without gradients no position is looked for in vain."""
    row, column = tile.amax(dim=2), tile.amax(dim=1)
    if needs is None and attention is None:
        return row, column, None
    best_frame, second = _first(tile, row, 2), None
    if attention is not None:
        gain, nearest = _at_best(attention, best_frame)
        second = tile.gather(2, nearest.unsqueeze(2)).squeeze(2)
        row = row.addcmul(gain, second, value=0.5)
    if needs is None:
        return row, column, None
    kept = _Winners(
        best_frame,
        _first(tile, column, 1),
        row if needs.word_pool else None,
        column if needs.frame_pool else None,
        second if needs.gain else None,
    )
    return row, column, kept


def _first(tile: Tensor, best: Tensor, dim: int) -> Tensor:
    """Where along `dim` the maximum stands first, uint8 or int16; `max` would look for it two to four times longer.

    A NaN is found nowhere and counts as last, so that it reaches the loss instead of an index error.
    """
    last = tile.shape[dim] - 1
    small = torch.uint8 if last < 256 else torch.int16
    shape = [-1 if d == dim else 1 for d in range(4)]
    to_go = torch.arange(last, -1, -1, dtype=small, device=tile.device).view(shape)
    return last - (tile == best.unsqueeze(dim)).to(small).mul_(to_go).amax(dim=dim)


def _at_best(attention: tuple[Tensor, Tensor], best_frame: Tensor) -> tuple[Tensor, Tensor]:
    """Values of g and nb (f, v) at each word's best frame, (t, w, v)."""
    at = best_frame.flatten(0, 1).long()
    gain, neighbour = (values.gather(0, at).view(best_frame.shape) for values in attention)
    return gain, neighbour


class _LateInteraction(torch.autograd.Function):
    """`_forward` with a backward pass whose memory is a tile's, plus a byte for every winner."""

    @staticmethod
    def forward(
        ctx: Any,
        words: Tensor,
        frames: Tensor,
        word_pool: Tensor,
        frame_pool: Tensor,
        gain: Tensor | None,
        neighbour: Tensor | None,
        plan: Plan,
    ) -> Tensor:
        ctx.plan, ctx.winners, ctx.needs = plan, [], _Needs(*ctx.needs_input_grad[:5])
        ctx.save_for_backward(words, frames, word_pool, frame_pool, gain, neighbour)
        return _forward(words, frames, word_pool, frame_pool, gain, neighbour, plan, ctx.needs, ctx.winners)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(upstream.device.type, enabled=False):
            return (*_backward(0.5 * upstream, ctx.saved_tensors, ctx.plan, ctx.needs, ctx.winners), None, None)


def _backward(
    upstream: Tensor, saved: tuple[Tensor, ...], plan: Plan, needs: _Needs, winners: list[_Winners]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of words, frames, word_pool, frame_pool and gain from half the gradient of the similarity."""
    words, frames, word_pool, frame_pool, gain, neighbour = saved
    d_words = torch.zeros_like(words, dtype=word_pool.dtype)
    d_frames = torch.zeros_like(frames, dtype=word_pool.dtype)
    d_word_pool, d_frame_pool = torch.zeros_like(word_pool), torch.zeros_like(frame_pool)
    d_gain = None if gain is None else torch.zeros_like(gain)
    remembered, scratch = iter(winners), Scratch(word_pool)
    for v, longest in plan.videos():
        block, count = _frame_rows(frames[v, :longest], word_pool.dtype), v.stop - v.start
        d_block = torch.zeros_like(block)
        for t, length in plan.texts(len(block)):
            won, score = next(remembered), upstream[t, v]
            by_word = score[:, None] * word_pool[t, :length, None]  # (t, w, v)
            by_frame = score[:, None] * frame_pool[v, :longest].T  # (t, f, v)
            tile = scratch.take(len(score) * length, len(block)).zero_().view(-1, length, longest, count)
            tile.scatter_(2, won.best_frame.long().unsqueeze(2), by_word.unsqueeze(2))
            tile.scatter_add_(1, won.best_word.long().unsqueeze(1), by_frame.unsqueeze(1))
            if gain is not None and d_gain is not None:
                at_best, nearest = _at_best((gain[v, :longest].T, neighbour[v, :longest].T), won.best_frame)
                tile.scatter_add_(2, nearest.unsqueeze(2), (0.5 * at_best * by_word).unsqueeze(2))
                if won.second is not None:
                    shares = (0.5 * by_word * won.second).flatten(0, 1)
                    d_gain[v, :longest] += (
                        score.new_zeros(longest, count).scatter_add_(0, won.best_frame.long().flatten(0, 1), shares).T
                    )
            flat = tile.view(-1, len(block))
            if needs.words:
                d_words[t, :length] += (flat @ block).view(-1, length, words.shape[-1])
            if needs.frames:
                d_block += flat.T @ words[t, :length].to(score.dtype).flatten(0, 1)
            if won.row is not None:
                d_word_pool[t, :length] += torch.bmm(won.row, score.unsqueeze(2)).squeeze(2)
            if won.column is not None:
                d_frame_pool[v, :longest] += (won.column * score[:, None]).sum(dim=0).T
        d_frames[v, :longest] = d_block.view(longest, count, -1).transpose(0, 1)
    return d_words.to(words.dtype), d_frames.to(frames.dtype), d_word_pool, d_frame_pool, d_gain
