"""What a text tower that stands still made of texts, looked up instead of computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from tvrkit.core.features import Tokens


class KeptTexts:
    """States of texts (`Backbone.text_states`) by their token ids.

    Args:
        states: by `key_of`; (1 + n, width) each for a text of n tokens, the sentence first.
    """

    def __init__(self, states: Mapping[str, Tensor]) -> None:
        self._states = states

    def look_up(self, tokens: Tokens) -> Tensor | None:
        """States (T, 1 + W, width), zeros on pads, where the tokens lie; None unless every text is known."""
        keys = keys_of(tokens)
        if not keys or any(key not in self._states for key in keys):
            return None
        rows = [self._states[key] for key in keys]
        states = rows[0].new_zeros(len(rows), tokens.word_mask.shape[1] + 1, rows[0].shape[1])
        for place, row in zip(states, rows, strict=True):
            place[: len(row)] = row
        return states.to(tokens.ids.device)


def keys_of(tokens: Tokens) -> Sequence[str]:
    """A key for each text: its real token ids."""
    counts = tokens.word_mask.sum(dim=1).tolist()
    return [",".join(map(str, row[:count])) for row, count in zip(tokens.ids.tolist(), counts, strict=True)]


def cut(states: Tensor, word_mask: Tensor) -> list[Tensor]:
    """The rows of states (T, 1 + W, width) without pads, as they are kept."""
    return [row[: count + 1] for row, count in zip(states, word_mask.sum(dim=1).tolist(), strict=True)]
