"""What the rows and columns of a similarity matrix are called, as far as that is known."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from tvrkit.data import pairs_of
from tvrkit.evaluate import Evaluation
from tvrkit.manifest import Record


class Names:
    """Captions and videos of an evaluation; where it has no records, only their numbers.

    Args:
        evaluation: its records, if any, belong to the columns, and their captions in order to the rows.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self.video_of_text: np.ndarray = evaluation.video_of_text.cpu().numpy()
        records = tuple(evaluation.records)
        pairs = pairs_of(records) if any(record.captions for record in records) else []
        fits = len(records) == evaluation.similarity.shape[1] and np.array_equal(
            [pair.video for pair in pairs], self.video_of_text
        )
        # Wrong names would be worse than none.
        self.records: tuple[Record, ...] = records if fits else ()
        self._captions = [records[pair.video].captions[pair.caption] for pair in pairs] if fits else []

    @cached_property
    def asking_videos(self) -> np.ndarray:
        """Columns of the videos that have a caption, in the order of the video-to-text queries."""
        return np.unique(self.video_of_text)

    def caption(self, row: int) -> str:
        """A caption, or its number."""
        return self._captions[row] if self._captions else f"caption {row}"

    def has_captions(self) -> bool:
        """Whether the captions are known."""
        return bool(self._captions)

    def video(self, column: int) -> str:
        """A video's id, or its number."""
        return self.records[column].video_id if self.records else f"video {column}"

    def first_caption(self, column: int) -> str | None:
        """The first caption of a video, where it is known and has one."""
        captions = self.records[column].captions if self.records else ()
        return captions[0] if captions else None
