"""What a line of the shell does."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tvrkit.cli import output
from tvrkit.cli.answers import explained, json_of, print_answer, print_hits, tell_confidence
from tvrkit.cli.query_parts import file_part, text_part
from tvrkit.cli.query_where import parse_where
from tvrkit.errors import ConfigError
from tvrkit.index.ask import Ask, Part, Where

if TYPE_CHECKING:
    from tvrkit.cli.asking import Session
    from tvrkit.index.hits import Answer, Hit

HELP = (
    ("WORDS", "ask for videos by words"),
    (":like FILE", "ask for videos like one"),
    (":image FILE", "ask for videos with such a picture"),
    (":avoid WORDS", "what is not wanted from now on; alone: nothing"),
    (":in PLACE …", "look only there from now on; alone: everywhere"),
    (":top N", "most videos in an answer"),
    (":explain N", "which word met which frame in hit N of the last answer"),
    (":cut N DIR", "write the moments of hit N as clips"),
    (":open N", "play hit N from its best moment"),
    (":json on|off", "answers as JSON lines, or as tables"),
    (":refresh", "look at the index as it is now; done by itself before a question"),
    (":help", "this"),
    (":quit", "end, as Ctrl-D does"),
)


class Shell:
    """The state between lines: settings, and the last answer."""

    def __init__(self, session: Session, *, top: int, as_json: bool) -> None:
        self._session = session
        self._top, self._json = top, as_json
        self._where = Where()
        self._avoid: Part | None = None
        self._last: tuple[Ask, Answer] | None = None
        self._commands: dict[str, Callable[[str], None]] = {
            "like": lambda file: self._ask(file_part("video", _path(file))),
            "image": lambda file: self._ask(file_part("image", _path(file))),
            "avoid": self._set_avoid,
            "in": self._set_in,
            "top": self._set_top,
            "explain": self._explain,
            "cut": self._cut,
            "open": self._open,
            "json": self._set_json,
            "refresh": self._refresh,
            "help": self._help,
        }

    def do(self, line: str) -> bool:
        """Do what one line says; whether there is to be another.

        Raises:
            TvrkitError: it is wrong, or cannot be done.
        """
        line = line.strip()
        if not line:
            return True
        if not line.startswith(":"):
            self._ask(text_part(line))
            return True
        name, _, rest = line[1:].partition(" ")
        if name in ("quit", "q", "exit"):
            return False
        command = self._commands.get(name)
        if command is None:
            raise ConfigError(f"there is no command :{name}; :help lists them.")
        command(rest.strip())
        return True

    def _ask(self, part: Part) -> None:
        if self._session.refresh():
            output.say("The index has changed: this is the new one.")
        parts = (part,) if self._avoid is None else (part, self._avoid)
        ask = Ask(parts, self._where, top=self._top)
        started = time.perf_counter()
        answer = self._session.search_one(ask)
        seconds = time.perf_counter() - started
        self._last = (ask, answer)
        tell_confidence(answer)
        (print_hits if self._json else print_answer)(answer)
        way = "all in full" if answer.exact else "in two stages"
        output.say(f"{seconds:.3f} s: {answer.moments} moments of {answer.videos} videos, {way}")

    def _set_avoid(self, words: str) -> None:
        self._avoid = text_part(words, against=True) if words else None

    def _set_in(self, places: str) -> None:
        self._where = parse_where(_split(places))

    def _set_top(self, number: str) -> None:
        if not number.isdecimal() or int(number) < 1:
            raise ConfigError(":top needs a number, as in `:top 5`.")
        self._top = int(number)

    def _set_json(self, word: str) -> None:
        if word not in ("on", "off"):
            raise ConfigError("say `:json on` or `:json off`.")
        self._json = word == "on"

    def _explain(self, number: str) -> None:
        ask, answer, hit = self._hit(":explain", number)
        explanation = self._session.explain(ask, hit)
        if self._json:
            output.print_json(json_of(hit, answer, explanation))
            return
        from tvrkit.cli.heat_map import print_heat_map

        print_heat_map(explanation, explained(hit))

    def _cut(self, text: str) -> None:
        from tvrkit.cli.query_cut import cut_moments

        number, _, folder = text.partition(" ")
        _, _, hit = self._hit(":cut", number)
        if not folder.strip():
            raise ConfigError(":cut needs a hit and a folder, as in `:cut 1 clips`.")
        place = Path(_path(folder.strip()))
        cut_moments([hit], place, "auto", self._session.reading.timeout_seconds)

    def _open(self, number: str) -> None:
        from tvrkit.cli.player import play

        _, _, hit = self._hit(":open", number)
        output.say(f"Opened with {play(hit.path, hit.moments[0].start_seconds)}.")

    def _refresh(self, _: str) -> None:
        changed = self._session.refresh()
        output.say("The index has changed: this is the new one." if changed else "The index has not changed.")

    def _help(self, _: str) -> None:
        for command, words in HELP:
            output.say(f"  {command:<14}{words}")

    def _hit(self, command: str, number: str) -> tuple[Ask, Answer, Hit]:
        if self._last is None or not self._last[1].hits:
            raise ConfigError(f"{command} is about an answer: ask something first.")
        ask, answer = self._last
        if not number.isdecimal() or not 1 <= int(number) <= len(answer.hits):
            raise ConfigError(f"{command} needs the rank of a hit, 1 to {len(answer.hits)}.")
        return ask, answer, answer.hits[int(number) - 1]


def _path(text: str) -> str:
    """One name, which needs no quotes whatever spaces are in it."""
    parts = _split(text) if text[:1] in ("'", '"') else [text] if text else []
    if len(parts) != 1:
        raise ConfigError("the name of one file or folder is wanted.")
    return str(Path(parts[0]).expanduser()) if parts[0].startswith("~") else parts[0]


def _split(text: str) -> list[str]:
    """Several names, with quotes around those that have spaces; one that is there needs none."""
    if Path(text).exists():
        return [text] if text else []
    try:
        return [str(Path(word).expanduser()) if word.startswith("~") else word for word in shlex.split(text)]
    except ValueError:
        raise ConfigError(f"a quote is not closed in {text!r}.") from None
