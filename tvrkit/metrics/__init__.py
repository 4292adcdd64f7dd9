"""Retrieval metrics in both directions, for any matrix of scores and any number of texts a video."""

from __future__ import annotations

from tvrkit.metrics.normalisation import dual_softmax, query_bank_norm
from tvrkit.metrics.paired import Difference, compare_ranks
from tvrkit.metrics.precision import average_precision
from tvrkit.metrics.ranking import Ranks, text_to_video_ranks, video_to_text_ranks
from tvrkit.metrics.summary import RetrievalMetrics, summarise, text_to_video_metrics, video_to_text_metrics

__all__ = [
    "Difference",
    "Ranks",
    "RetrievalMetrics",
    "average_precision",
    "compare_ranks",
    "dual_softmax",
    "query_bank_norm",
    "summarise",
    "text_to_video_metrics",
    "text_to_video_ranks",
    "video_to_text_metrics",
    "video_to_text_ranks",
]
