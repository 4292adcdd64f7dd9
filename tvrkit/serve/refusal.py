"""The one exception that becomes an answer which says no."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """What a request gets instead of an answer.

    Attributes:
        status: of HTTP, 4xx or 5xx.
        sentence: what is wrong and what to do, for the body `{"error": …}`.
        headers: that go with it.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
        self.headers = dict(headers or {})


def busy(sentence: str = "the server has too much to do just now: try again in a moment.") -> Refusal:
    """Nothing is wrong but the moment."""
    return Refusal(503, sentence, {"Retry-After": "1"})


def cut_off(status: int, sentence: str) -> Refusal:
    """What is still coming of the body will not be read, so the connection has to end."""
    return Refusal(status, sentence, {"Connection": "close"})
