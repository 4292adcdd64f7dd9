"""From an exception to one sentence that says what, where and what to do."""

from __future__ import annotations

import errno
import importlib.util
import os
import shlex
import sys
import traceback

import click

from tvrkit.cli.output import printable
from tvrkit.errors import StoppedError, TeamError, TvrkitError

TRACEBACK = "TVRKIT_TRACEBACK"


def report(error: BaseException) -> int:
    """Print the sentence for `error` on stderr and return the exit code."""
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        click.echo(explain(error), err=True)
        return 130
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    words = explain(error)
    if isinstance(error, TeamError) and not words:
        return error.exit_code  # another process of the team says it
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    # To be asked to stop is no error.
    asked = isinstance(error.__cause__ if isinstance(error, TeamError) else error, (StoppedError, KeyboardInterrupt))
    click.echo(f"{'' if asked else 'Error: '}{printable(words)}", err=True)
    return error.exit_code if isinstance(error, TvrkitError) else 1


def explain(error: BaseException) -> str:
    """One sentence for any exception; for one that nobody foresaw, its name and where the traceback can be had."""
    if isinstance(error, TvrkitError):
        return str(error)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "Interrupted."
    if isinstance(error, click.ClickException):
        return error.format_message()
    for cause in _chain(error):
        for kind in (_installation, _disk, _memory):
            if sentence := kind(cause):
                return sentence
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    text = " ".join(str(error).split())
    name = type(error).__name__
    what = f"{name}: {text}" if text else name
    return (
        f"something went wrong that tvrkit did not foresee ({what.rstrip('.')});"
        f" run it again with {TRACEBACK}=1 for the traceback, and please report it."
    )


def pip_install(packages: str) -> str:
    """The command that installs `packages` into the environment that tvrkit runs in."""
    if importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {shlex.quote(sys.executable)} {packages}"
    return f"{shlex.quote(sys.executable)} -m pip install {packages}"


def mend_torch() -> str:
    """The command that brings a torch and a torchvision that fit each other."""
    pip = pip_install("--upgrade torch torchvision")
    return pip.replace("--upgrade", "--reinstall" if pip.startswith("uv ") else "--force-reinstall")


def _chain(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in causes:
        causes.append(current)
        current = current.__cause__ or current.__context__
    return causes


def _installation(error: BaseException) -> str | None:
    text = " ".join(str(error).split())
    # torchvision built for another torch fails in its own ways: a missing operator, a missing symbol, a version check.
    mismatch = "torchvision::" in text or "compiled with different CUDA" in text or "torchvision/_C" in text
    if mismatch or (isinstance(error, ImportError) and (error.name or "").startswith("torchvision.")):
        return (
            "the installed torch and torchvision do not fit each other"
            f" ({text.rstrip('.')}); this command mends it: {mend_torch()}"
        )
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "tvrkit":
        mend = pip_install("--force-reinstall --no-deps tvrkit")
        return f"tvrkit is not installed whole ({text}); this command mends it: {mend}"
    if isinstance(error, ImportError) and error.name:
        package = error.name.partition(".")[0]
        package = {"open_clip": "open_clip_torch", "yaml": "pyyaml", "PIL": "pillow"}.get(package, package)
        if isinstance(error, ModuleNotFoundError):
            return f"the package {package} is not installed; this command mends it: {pip_install(package)}"
        mend = pip_install(f"--upgrade {package}")
        return f"the package {package} cannot be loaded ({text.rstrip('.')}); this may mend it: {mend}"
    if isinstance(error, (ImportError, OSError)) and "cannot open shared object file" in text:
        return f"a library that torch needs is missing ({text.rstrip('.')}); this command mends it: {mend_torch()}"
    return None


def _disk(error: BaseException) -> str | None:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    # sqlite and safetensors report a full disk in their own exceptions.
    text = str(error)
    if full or "No space left on device" in text or "database or disk is full" in text:
        where = getattr(error, "filename", None) or os.getcwd()
        return f"the disk is full (writing at {where}); free some space and run the same command again."
    return None


def _memory(error: BaseException) -> str | None:
    if type(error).__name__ == "OutOfMemoryError":
        return (
            "the device's memory is full; use a smaller batch (--set train.batch_size=… in training),"
            " or another device (--device cpu)."
        )
    if isinstance(error, MemoryError):
        return "the machine's memory is full; use a smaller batch or fewer --workers."
    return None
