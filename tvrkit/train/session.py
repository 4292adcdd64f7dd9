"""A run's sessions, one each time that it was started or went on: what it ran on, and for how long."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import tvrkit
from tvrkit.distributed import SOLO, Team
from tvrkit.files import write_json
from tvrkit.train.state import Progress

SESSIONS = "sessions.json"
UNDER_WAY, BROKEN_OFF = "under way", "broken off"


@dataclass(frozen=True)
class Session:
    """What does not change while it lasts.

    Attributes:
        started: local time with its distance from UTC.
        first_step: optimiser steps done before it.
        seconds_before: time that earlier sessions took.
        command: as it was typed, nearly.
        processes: how many train together.
        hardware: names of GPUs and CPUs, in words.
        versions: of what decides the numbers.
    """

    started: str
    first_step: int
    seconds_before: float
    command: str
    processes: int
    hardware: str
    versions: Mapping[str, str]


def begin_session(progress: Progress, device: torch.device | str, team: Team = SOLO) -> Session:
    """Look at the machine; all processes of a team do so together."""
    cuda = torch.device(device).type == "cuda"
    mine = (socket.gethostname(), torch.cuda.get_device_name(device) if cuda else "", _cpu())
    return Session(
        started=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        first_step=progress.step,
        seconds_before=progress.seconds,
        command=_command(),
        processes=team.size,
        hardware=_hardware(team.objects(mine)),
        versions=_versions(cuda),
    )


def record_session(
    run: Path, session: Session, *, step: int, seconds: float, parts: Mapping[str, float], ended: str
) -> list[dict[str, Any]]:
    """Write into sessions.json how far a session is, and return all of them, oldest first.

    Args:
        run: the run's folder.
        session: this one.
        step: optimiser steps done.
        seconds: time that the run has taken, all sessions together.
        parts: seconds of this session by part.
        ended: how, or `UNDER_WAY`.
    """
    # Two short ones may begin within a second.
    this = (session.started, session.first_step)
    sessions = [row for row in read_sessions(run) if (row.get("started"), row.get("first_step")) != this]
    for row in sessions:
        if row.get("ended") == UNDER_WAY:  # it had no time to say how it ended
            row["ended"] = BROKEN_OFF
    state = {
        "command": _text(session.command),
        "step": step,
        "seconds": round(max(0.0, seconds - session.seconds_before), 1),
        "parts": {part: round(spent, 1) for part, spent in parts.items()},
        "ended": _text(ended),
    }
    sessions.append(asdict(session) | state)
    write_json(run / SESSIONS, sessions)
    return sessions


def read_sessions(run: Path) -> list[dict[str, Any]]:
    """The sessions of a run, oldest first; none where the file is not there or cannot be read."""
    try:
        rows = json.loads((run / SESSIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _text(text: str) -> str:
    """Names of files may hold bytes that are no UTF-8, which Python keeps as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _command() -> str:
    program = Path(sys.argv[0] or "python")
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])


def _hardware(machines: list[tuple[str, str, str]]) -> str:
    """Words for (host, GPU or nothing, CPU) of every process; host names stay here."""
    hosts = {host: cpu for host, _, cpu in machines}
    gpus = Counter(gpu for _, gpu, _ in machines if gpu)
    words = [_times(number, name) for name, number in gpus.items()]
    words += [_times(number, name) for name, number in Counter(hosts.values()).items()]
    return ", ".join(words) + (f", on {len(hosts)} machines" if len(hosts) > 1 else "")


def _times(number: int, name: str) -> str:
    return name if number == 1 else f"{number} x {name}"


def _cpu() -> str:
    """For instance `AMD EPYC 9534 (16 cores)`; the cores are those that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        name = found[1].strip() if found else name
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name} ({cores} core{'' if cores == 1 else 's'})"


def _versions(cuda: bool) -> dict[str, str]:
    versions = {
        "tvrkit": tvrkit.__version__,
        "Python": platform.python_version(),
        "torch": str(torch.__version__),
        "open_clip": importlib.metadata.version("open_clip_torch"),
    }
    if cuda:
        versions["CUDA"] = str(torch.version.cuda or torch.version.hip)
        versions["driver"] = _driver()
    return versions


def _driver() -> str:
    """Version of NVIDIA's driver, or `unknown`."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
        if found := re.search(r"\b\d{3}\.\d+(?:\.\d+)?\b", text):
            return found[0]
    except OSError:
        pass
    if shutil.which("nvidia-smi"):
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            return subprocess.run(ask, capture_output=True, text=True, timeout=10, check=True).stdout.split()[0]
        except (OSError, subprocess.SubprocessError, IndexError):
            pass
    return "unknown"
