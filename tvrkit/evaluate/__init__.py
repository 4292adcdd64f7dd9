"""How well a model finds videos by captions and captions by videos, and the hard gallery of one-word edits.

Letters: T captions, V videos. An evaluation comes from a model and a split (`evaluate`), or from anybody's matrix of
scores (`evaluate_scores`); both are ranked by the same code.
"""

from __future__ import annotations

from tvrkit.evaluate.evaluation import Evaluation, compare_evaluations, evaluate_scores, same_questions
from tvrkit.evaluate.hard import BASE, HARD_SPLIT, HardGallery, evaluate_hard
from tvrkit.evaluate.normalised import QueryBank, query_bank, with_dual_softmax, with_query_bank
from tvrkit.evaluate.scoring import similarity_matrix
from tvrkit.evaluate.split import baseline_config, encode_split, evaluate, evaluate_encoded, require_whole

__all__ = [
    "BASE",
    "HARD_SPLIT",
    "Evaluation",
    "HardGallery",
    "QueryBank",
    "baseline_config",
    "compare_evaluations",
    "encode_split",
    "evaluate",
    "evaluate_encoded",
    "evaluate_hard",
    "evaluate_scores",
    "query_bank",
    "require_whole",
    "same_questions",
    "similarity_matrix",
    "with_dual_softmax",
    "with_query_bank",
]
