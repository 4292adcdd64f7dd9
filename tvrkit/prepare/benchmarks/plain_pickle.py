"""Pickles of lists, dicts, texts and numbers, read without ever running what a pickle may ask for.

`pickle.loads` calls whatever the file names. This reads the instructions that build plain values and no others, so
there is nothing to call: no class can be named, no object made, and sizes that a file claims are checked against
what it holds before anything is reserved.
"""

from __future__ import annotations

import ast
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tvrkit.errors import DataError

# What a damaged file makes the reading below stumble over.
DAMAGED = (ValueError, IndexError, KeyError, TypeError, OverflowError, SyntaxError, RecursionError, MemoryError)

STOP, SHORT_TEXT, MEMOIZE = 0x2E, 0x8C, 0x94

Reader = Callable[["_Machine"], None]


class _Refused(Exception):
    """Why a pickle is not read."""


def read_plain_pickle(path: Path, data: bytes | None = None) -> Any:
    """The value in a pickle of Python 2 or 3: dicts, lists, tuples, sets, texts, numbers, None and booleans.

    Byte strings, which are what Python 2 wrote for text, become text: UTF-8, else Windows-1252.

    Args:
        path: for messages, and to read where `data` is None.
        data: the file's content.

    Raises:
        DataError: it is damaged, or holds anything else.
    """
    try:
        content = path.read_bytes() if data is None else data
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from None
    try:
        return _Machine(content).run()
    except _Refused as reason:
        raise DataError(f"{path}: {reason}; only pickles of plain lists and texts are read.") from None
    except DAMAGED as error:
        raise DataError(f"{path} is no whole pickle ({type(error).__name__}): fetch it again.") from None


class _Machine:
    """Runs a pickle's instructions over a stack; `marks` are places in it, `memo` holds values named by numbers."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        data, known, stack, memo = self.data, READERS, self.stack, self.memo
        while True:
            code = data[self.at]
            self.at += 1
            if code == SHORT_TEXT:  # these two are two thirds of a file of captions
                start = self.at + 1
                self.at = start + data[self.at]
                stack.append(_text(data[start : self.at]))
            elif code == MEMOIZE:
                memo[len(memo)] = stack[-1]
            elif (reader := known.get(code)) is not None:
                reader(self)
            elif code == STOP:
                return self.pop()
            else:
                raise _Refused(_why_not(code, data, self.at))

    def pop(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise ValueError("a value below a mark")
        return self.stack.pop()

    def pop_marked(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def take(self, number: int) -> bytes:
        end = self.at + number
        if number < 0 or end > len(self.data):
            raise ValueError("it claims more than it holds")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        end = self.data.index(b"\n", self.at)
        taken = self.data[self.at : end]
        self.at = end + 1
        return taken


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _pushes(value: Callable[[_Machine], Any]) -> Reader:
    def push(machine: _Machine) -> None:
        machine.stack.append(value(machine))

    return push


def _skips(value: Callable[[_Machine], Any]) -> Reader:
    def skip(machine: _Machine) -> None:
        value(machine)

    return skip


def _sized_text(form: str) -> Reader:
    return _pushes(lambda machine: _text(machine.take(machine.number(form))))


def _remembers(place: Callable[[_Machine], int]) -> Reader:
    def remember(machine: _Machine) -> None:
        machine.memo[place(machine)] = machine.stack[-1]

    return remember


def _recalls(place: Callable[[_Machine], int]) -> Reader:
    return _pushes(lambda machine: machine.memo[place(machine)])


def _int_line(machine: _Machine) -> int | bool:
    line = machine.line()
    return line == b"01" if line in (b"00", b"01") else _whole(line)


def _whole(line: bytes) -> int:
    digits = line.rstrip(b"L")
    if len(digits) > 40:
        raise ValueError("a number of more than forty digits")
    return int(digits)


def _string_line(machine: _Machine) -> str:
    quoted = machine.line().decode("ascii")
    value = quoted[1:-1]
    if len(quoted) < 2 or quoted[0] != quoted[-1] or quoted[0] not in "'\"":
        raise ValueError("a text without quotes")
    if "\\" in value:
        with warnings.catch_warnings():  # of escapes that Python 2 did not write
            warnings.simplefilter("ignore")
            value = ast.literal_eval(quoted)
    return _text(value.encode("latin-1"))


def _append(machine: _Machine) -> None:
    value = machine.pop()
    _list(machine).append(value)


def _appends(machine: _Machine) -> None:
    values = machine.pop_marked()
    _list(machine).extend(values)


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _dict(machine)[key] = value


def _set_items(machine: _Machine) -> None:
    values = machine.pop_marked()
    _dict(machine).update(zip(values[::2], values[1::2], strict=True))


def _add_items(machine: _Machine) -> None:
    values = machine.pop_marked()
    target = machine.stack[-1]
    if type(target) is not set:
        raise ValueError("no set")
    target.update(values)


def _list(machine: _Machine) -> list[Any]:
    target = machine.stack[-1]
    if type(target) is not list:
        raise ValueError("no list")
    return target


def _dict(machine: _Machine) -> dict[Any, Any]:
    target = machine.stack[-1]
    if type(target) is not dict:
        raise ValueError("no dict")
    return target


def _marked_dict(machine: _Machine) -> dict[Any, Any]:
    values = machine.pop_marked()
    return dict(zip(values[::2], values[1::2], strict=True))


def _last(number: int) -> Reader:
    def tuple_of(machine: _Machine) -> None:
        values = [machine.pop() for _ in range(number)]
        machine.stack.append(tuple(reversed(values)))

    return tuple_of


def _long(form: str) -> Reader:
    def push(machine: _Machine) -> None:
        size = machine.number(form)
        if size > 16:
            raise ValueError("a number of more than sixteen bytes")
        machine.stack.append(int.from_bytes(machine.take(size), "little", signed=True))

    return push


# Instruction -> what it does (pickletools names them). What is not here cannot be done.
READERS: dict[int, Reader] = {
    0x80: _skips(lambda machine: machine.take(1)),  # PROTO
    0x95: _skips(lambda machine: machine.take(8)),  # FRAME: where it ends does not matter here
    ord("("): lambda machine: machine.marks.append(len(machine.stack)),
    ord("0"): _skips(lambda machine: machine.pop()),
    ord("2"): lambda machine: machine.stack.append(machine.stack[-1]),
    ord("N"): _pushes(lambda machine: None),
    0x88: _pushes(lambda machine: True),
    0x89: _pushes(lambda machine: False),
    ord("I"): _pushes(_int_line),
    ord("L"): _pushes(lambda machine: _whole(machine.line())),
    ord("J"): _pushes(lambda machine: machine.number("<i")),
    ord("K"): _pushes(lambda machine: machine.number("<B")),
    ord("M"): _pushes(lambda machine: machine.number("<H")),
    0x8A: _long("<B"),
    0x8B: _long("<i"),
    ord("F"): _pushes(lambda machine: float(machine.line())),
    ord("G"): _pushes(lambda machine: machine.number(">d")),
    ord("S"): _pushes(_string_line),
    ord("T"): _sized_text("<i"),
    ord("U"): _sized_text("<B"),
    ord("V"): _pushes(lambda machine: machine.line().decode("raw-unicode-escape")),
    ord("X"): _sized_text("<I"),
    0x8D: _sized_text("<Q"),
    ord("B"): _sized_text("<I"),
    ord("C"): _sized_text("<B"),
    0x8E: _sized_text("<Q"),
    ord("]"): _pushes(lambda machine: []),
    ord("}"): _pushes(lambda machine: {}),
    ord(")"): _pushes(lambda machine: ()),
    0x8F: _pushes(lambda machine: set()),
    ord("l"): _pushes(lambda machine: machine.pop_marked()),
    ord("d"): _pushes(_marked_dict),
    ord("t"): _pushes(lambda machine: tuple(machine.pop_marked())),
    0x85: _last(1),
    0x86: _last(2),
    0x87: _last(3),
    ord("a"): _append,
    ord("e"): _appends,
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x90: _add_items,
    ord("p"): _remembers(lambda machine: _whole(machine.line())),
    ord("q"): _remembers(lambda machine: machine.number("<B")),
    ord("r"): _remembers(lambda machine: machine.number("<I")),
    ord("g"): _recalls(lambda machine: _whole(machine.line())),
    ord("h"): _recalls(lambda machine: machine.number("<B")),
    ord("j"): _recalls(lambda machine: machine.number("<I")),
}


def _why_not(code: int, data: bytes, at: int) -> str:
    if code == ord("c"):
        name = b".".join(data[at : at + 80].split(b"\n")[:2]).decode("ascii", errors="replace")
        return f"it asks for the Python object {name!r}"
    if code in b"Rio\x81\x92\x93bPQ\x82\x83\x84":
        return "it asks to make or to call a Python object"
    return f"byte {at} is no instruction that builds plain values"
