"""Opening a video at a moment, with whatever player there is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading

from tvrkit.errors import DataError

# Each starts where it is told; the openers of the desktops, which come after them, start at the beginning.
_PLAYERS = {
    "mpv": lambda path, seconds: [f"--start={seconds:.2f}", "--", path],
    "vlc": lambda path, seconds: [f"--start-time={seconds:.2f}", "--", path],
    "ffplay": lambda path, seconds: ["-ss", f"{seconds:.2f}", "-autoexit", "-loglevel", "error", "-i", path],
}


def play(path: str, seconds: float) -> str:
    """Open a video at a time in its own process, and go on.

    Args:
        path: of the file, absolute, or an address of the web.
        seconds: where to begin.

    Returns:
        The player's name, and what it cannot do.

    Raises:
        DataError: there is no display, no player, no such file, or it lies where no player gets at it.
    """
    web = path.startswith(("http://", "https://"))
    if "://" in path and not web:
        raise DataError(f"{path} cannot be opened from where it lies: cut the moment into a file instead.")
    if not web and not os.path.isfile(path):
        raise DataError(f"{path} is not there any more: `tvrkit index` brings the index up to date.")
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise DataError("there is no display here on which a video could be shown: cut the moment into a file instead.")
    for name, arguments in _PLAYERS.items():
        if program := shutil.which(name):
            _start([program, *arguments(path, seconds)])
            return name
    if sys.platform == "win32":
        os.startfile(path)
        return "the default player, from the beginning"
    opener = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    if opener is None:
        raise DataError("there is no player here: install mpv or vlc.")
    _start([opener, path])
    return "the default player, from the beginning"


def _start(command: list[str]) -> None:
    try:
        # Its own session: a Ctrl-C that clears a line here must not end the film there.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Somebody has to take note of its end, or it would stay in the table of processes as long as a shell does.
        threading.Thread(target=process.wait, daemon=True).start()
    except OSError as error:
        raise DataError(f"cannot start {command[0]}: {error.strerror or error}.") from None
