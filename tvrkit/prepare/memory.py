"""Answers that took long to find, kept in a file from one run to the next."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvrkit.files import write_text

# What a power cut may cost. Saving takes the longer the more is known, and may take a twentieth of the time.
SAVE_SECONDS = 5.0
SAVE_SHARE = 20


class Memory:
    """A file of one JSON object, an answer a line. One that is damaged or missing is as good as empty: only slow.

    Attributes:
        answers: what is known, by key; to be changed by `keep` and `forget`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Any] = {}
        self._changed = False
        self._next_save = time.monotonic() + SAVE_SECONDS
        try:
            answers = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(answers, dict):
            self.answers = answers

    def keep(self, key: str, answer: Mapping[str, Any]) -> None:
        """Remember an answer; on disk after some seconds, or at the next `save`.

        Raises:
            OSError: the file cannot be written.
        """
        self.answers[key] = answer
        self._changed = True
        if time.monotonic() > self._next_save:
            self.save()

    def forget(self, key: str) -> None:
        """Have no answer for this."""
        self._changed |= self.answers.pop(key, None) is not None

    def save(self) -> None:
        """Write what has changed since it was read, whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        if not self._changed:
            return
        started = time.monotonic()
        lines = (f"{json.dumps(key)}: {json.dumps(answer)}" for key, answer in self.answers.items())
        write_text(self.path, "{\n" + ",\n".join(lines) + "\n}\n")
        now = time.monotonic()
        self._changed = False
        self._next_save = now + max(SAVE_SECONDS, SAVE_SHARE * (now - started))
