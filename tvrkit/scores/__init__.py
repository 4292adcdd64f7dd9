"""Files of similarity scores, of any model: read without running what they may hold."""

from tvrkit.scores.arrays import read_array
from tvrkit.scores.groups import read_groups
from tvrkit.scores.matrix import Scores, read_scores

__all__ = ["Scores", "read_array", "read_groups", "read_scores"]
