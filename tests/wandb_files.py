"""What Weights & Biases wrote on this machine: its own file format, read back.

A `.wandb` file is a header of 7 bytes and a log of LevelDB's kind: blocks of 32 KiB with records of a checksum (4
bytes), a length (2), a kind (1: whole, 2: first part, 3: middle, 4: last) and that many bytes of a protobuf `Record`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7


def offline_runs(run: Path) -> list[Path]:
    """The files of a run's parts, oldest first."""
    return sorted(run.glob("wandb/offline-run-*/run-*.wandb"))


def read_offline(path: Path) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """The config, and for each step its numbers by name."""
    from wandb.proto.wandb_internal_pb2 import Record

    config, history = {}, {}
    for payload in _payloads(path.read_bytes()):
        record = Record()
        record.ParseFromString(payload)
        if record.WhichOneof("record_type") == "run":
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.WhichOneof("record_type") == "history":
            row = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            history[record.history.step.num] = {k: v for k, v in row.items() if not k.startswith("_")}
    return config, history


def _payloads(content: bytes) -> Iterator[bytes]:
    place, parts = HEADER, b""
    while place + HEADER <= len(content):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):
            yield parts
            parts = b""
