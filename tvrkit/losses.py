"""Contrastive losses on matched pairs: InfoNCE, NegNCE and the triplet partial margin loss.

All of them compute in float32 (float64 for float64 input), under autocast too. Paper: arXiv 2309.11082.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(similarity: Tensor, scale: float | Tensor, video_ids: Tensor | None = None) -> Tensor:
    """Symmetric cross-entropy: each text should pick its video among the batch's, and each video its text.

    Args:
        similarity: (B, B) unscaled; text i and video i belong together.
        scale: factor k > 0 on it, a number or a tensor with one element.
        video_ids: (B,) integers; pairs of one video are never each other's negatives. None: all differ.

    Returns:
        A scalar >= 0, in nats; log B when all scores are equal and all videos differ.

    Raises:
        ValueError: the matrix is not square, or `video_ids` does not fit it.
    """
    logits, _ = _logits(similarity, scale, video_ids)
    return 0.5 * (_row_info_nce(logits) + _row_info_nce(logits.T))


def neg_nce(
    similarity: Tensor,
    scale: float | Tensor,
    margin: float = 0.0,
    positive_weight: float = 1.0,
    negative_weight: float = 0.5,
    video_ids: Tensor | None = None,
) -> Tensor:
    """InfoNCE that also pushes down each negative which outscores a positive (paper section 3.3, NegNCE).

    The hard negatives are H = {(i, j): margin + S_ij > S_ii or margin + S_ij > S_jj}. One direction costs
    positive_weight * mean(-log p_ii) + negative_weight * mean over H of -log(1 - p_ij), p being the row softmax; the
    second term is absent when H is empty. Nothing is clamped, so the hardest pairs keep their gradient.

    Args:
        similarity: (B, B) unscaled; text i and video i belong together.
        scale: factor k > 0 on it, a number or a tensor with one element.
        margin: mu, in units of similarity; 0 in the paper.
        positive_weight: weight of the first term.
        negative_weight: weight of the second term.
        video_ids: (B,) integers; pairs of one video are never each other's negatives. None: all differ.

    Returns:
        A scalar >= 0, in nats, the mean of both directions.

    Raises:
        ValueError: the matrix is not square, or `video_ids` does not fit it.
    """
    logits, negatives = _logits(similarity, scale, video_ids)
    scores = _wide(similarity.detach())
    own = scores.diagonal()
    hard = negatives & ((margin + scores > own[:, None]) | (margin + scores > own[None, :]))
    total = logits.new_zeros(())
    for rows, allowed, chosen in ((logits, negatives, hard), (logits.T, negatives.T, hard.T)):
        rejected = torch.where(chosen, -_log_one_minus_softmax(rows, allowed), 0.0)
        of_negatives = rejected.sum() / chosen.sum().clamp(min=1)
        total = total + positive_weight * _row_info_nce(rows) + negative_weight * of_negatives
    return 0.5 * total


def triplet_partial_margin(positive: Tensor, negative: Tensor, valid: Tensor, margin: float) -> Tensor:
    """Hinge loss over partial orders: the whole should outscore what lacks its main tokens (paper section 3.4).

    Args:
        positive: (R, B) scores of R orders for B pairs.
        negative: (R, B) scores of the same with the most important tokens hidden.
        valid: (R, B) bool, False where nothing was hidden; those pairs leave the mean.
        margin: delta, in units of similarity.

    Returns:
        A scalar >= 0: the sum over orders of the mean over valid pairs of max(0, margin - (positive - negative)); an
        order without a valid pair adds 0.

    Raises:
        ValueError: the shapes differ.
    """
    if not positive.shape == negative.shape == valid.shape:
        shapes = tuple(positive.shape), tuple(negative.shape), tuple(valid.shape)
        raise ValueError(f"positive, negative and valid must have one shape, got {shapes}")
    missing = functional.relu(margin - (_wide(positive) - _wide(negative)))
    kept = torch.where(valid, missing, 0.0).sum(dim=-1)
    return (kept / valid.sum(dim=-1).clamp(min=1)).sum()


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _logits(similarity: Tensor, scale: float | Tensor, video_ids: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scaled logits with -inf at other pairs of the same video, and which entries are negatives."""
    size = len(similarity)
    if similarity.shape != (size, size):
        raise ValueError(f"similarity must be square, got {tuple(similarity.shape)}")
    logits = _wide(similarity) * (_wide(scale) if isinstance(scale, Tensor) else scale)
    itself = torch.eye(size, dtype=torch.bool, device=logits.device)
    if video_ids is None:
        return logits, ~itself
    if video_ids.shape != (size,):
        raise ValueError(f"video_ids must have shape ({size},), got {tuple(video_ids.shape)}")
    negatives = video_ids[:, None] != video_ids[None, :]
    return logits.masked_fill(~negatives & ~itself, -torch.inf), negatives


def _row_info_nce(logits: Tensor) -> Tensor:
    return -logits.log_softmax(dim=1).diagonal().mean()


def _log_one_minus_softmax(logits: Tensor, negatives: Tensor) -> Tensor:
    """log(1 - p_ij) at the negatives of each row, exact and with its gradient even where p_ij rounds to 1.

    Only a row's strongest negative can have p > 1/2: there it is logsumexp of the others minus logsumexp of all (the
    positive is among the others, so neither is empty); elsewhere log1p loses nothing.
    """
    strongest = logits.detach().masked_fill(~negatives, -torch.inf).argmax(dim=1, keepdim=True)
    at_strongest = torch.zeros_like(negatives).scatter(1, strongest, True) & negatives
    rest = logits.masked_fill(at_strongest, -torch.inf).logsumexp(dim=1, keepdim=True)
    log_p = logits.log_softmax(dim=1)
    # Filled before exp and log1p: an infinite slope in the branch not taken would still make NaN gradients.
    weak = torch.log1p(-log_p.masked_fill(at_strongest | ~negatives, -torch.inf).exp())
    return torch.where(at_strongest, rest - logits.logsumexp(dim=1, keepdim=True), weak)
