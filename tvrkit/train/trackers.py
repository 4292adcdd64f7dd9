"""Who keeps a run's numbers beside log.jsonl: TensorBoard, Weights & Biases. None of them may stop the training."""

from __future__ import annotations

import functools
import netrc
import os
import secrets
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from tvrkit.config import Config, config_to_dict
from tvrkit.files import write_text
from tvrkit.reporting import Reporter

WANDB_FOLDER, WANDB_ID = "wandb", "id.txt"
WANDB_SECONDS = 30.0
"""How long Weights & Biases may take to answer when training begins, and to take the rest when it ends."""

REACH_SECONDS = 5.0


class Tracker(Protocol):
    """Somebody who keeps numbers."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Keep the numbers of a step, by names with slashes in them."""

    def close(self, failed: bool) -> None:
        """The run has ended, by an error if `failed`."""


def open_tracker(word: str, run: Path, step: int, config: Config, report: Reporter) -> Tracker | None:
    """The tracker of that name.

    Args:
        word: one of `train.trackers`.
        run: the run's folder, which takes the tracker's files.
        step: steps done already; what was kept of later ones is trained again.
        config: of the run.
        report: is told, once, why there is none, and if it fails later.

    Returns:
        None where it is not installed or does not work; the report has been told.
    """
    title, make = _TRACKERS[word]
    try:
        return _Guarded(title, make(run, step, config, report), report)
    except ImportError:
        tell = report.say if word == "tensorboard" else report.warn
        tell(f'No {title} log: `pip install "tvrkit[{word}]"` brings it.')
    except Exception as error:  # whatever it is, training is worth more
        report.warn(_trouble(title, error))
    return None


class _Guarded:
    """A tracker that is given up, with one warning, when it fails."""

    def __init__(self, title: str, tracker: Tracker, report: Reporter) -> None:
        self._title, self._tracker, self._report = title, tracker, report
        self._failed = False

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._try(lambda: self._tracker.write(step, numbers))

    def close(self, failed: bool) -> None:
        """See `Tracker`."""
        self._try(lambda: self._tracker.close(failed))

    def _try(self, do: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            do()
        except Exception as error:  # as above
            self._failed = True
            self._report.warn(_trouble(self._title, error))


def _trouble(title: str, error: Exception) -> str:
    return f"{title} does not work ({_words(error)}): training goes on without it, log.jsonl has all numbers."


class _TensorBoard:
    """Event files in `tensorboard/`."""

    def __init__(self, run: Path, step: int, config: Config, report: Reporter) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, step)

    def close(self, failed: bool) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """A run of Weights & Biases, whose files lie in `wandb/` and whose id is kept there, so that it can go on.

    Without an account, or where `WANDB_MODE=offline` says so, it stays on this machine until `wandb sync`. Project and
    entity are `WANDB_PROJECT` (else `tvrkit`) and `WANDB_ENTITY`.
    """

    def __init__(self, run: Path, step: int, config: Config, report: Reporter) -> None:
        with _wandb_environment(run.resolve() / WANDB_FOLDER), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own deprecations are no news of ours
            self._run, offline = _start(run, step, config)
        if offline is not None:
            upload = f"`wandb sync {run / WANDB_FOLDER}/offline-run-*` uploads the run"
            report.say(f"Weights & Biases is offline{offline}: {upload}.")
        self._report, self._folder = report, run / WANDB_FOLDER / Path(self._run.dir).parent.name
        metric = config.train.select_by
        best = "min" if metric.endswith(("MdR", "MnR")) else "max"
        self._run.define_metric(f"validation/{metric}", summary=best)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        # Of a step that it has already it takes nothing: a run that goes on comes to the same numbers.
        with _traceless():
            self._run.log(dict(numbers), step=step)

    def close(self, failed: bool) -> None:
        with _traceless():
            try:
                self._run.finish(exit_code=int(failed))
            except TimeoutError:
                upload = f"`wandb sync {self._folder}` uploads the rest"
                self._report.warn(f"Weights & Biases did not take all numbers in {WANDB_SECONDS:.0f} s: {upload}.")


@contextmanager
def _wandb_environment(folder: Path) -> Iterator[None]:
    """What wandb reads while it starts: no word on the terminal, no file in the home folder, no reports on itself."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"SILENT": "true", "ERROR_REPORTING": "false", "CACHE_DIR": str(folder / "cache")}
    wanted = {f"WANDB_{name}": value for name, value in wanted.items()}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _start(run: Path, step: int, config: Config) -> tuple[Any, str | None]:
    """A run of Weights & Biases, and, where it is offline, why: offline is what is left when nobody answers."""
    import wandb

    mode = os.environ.get("WANDB_MODE") or ("online" if _has_account(wandb) else "offline")
    begin = functools.partial(_begin, wandb, run, config, _wandb_id(run, step))
    if mode == "online":
        try:
            _reach(_address(wandb))
            return begin(mode), None
        except Exception as error:  # no network, a wrong key, a server that is down
            wandb.teardown()  # its service would not begin a run of the same id again
            return begin("offline"), f", as it cannot be reached ({_words(error)})"
    why = "" if os.environ.get("WANDB_MODE") else ", as no account is known here (`wandb login`)"
    return begin(mode), why if mode == "offline" else None


def _begin(wandb: Any, run: Path, config: Config, wandb_id: str, mode: str) -> Any:
    wanted = {
        "silent": True,
        "console": "off",
        "disable_git": True,
        "disable_code": True,
        "init_timeout": WANDB_SECONDS,
        "login_timeout": WANDB_SECONDS,
        "finish_timeout": WANDB_SECONDS,
        "finish_timeout_raises": True,
    }
    known = getattr(wandb.Settings, "model_fields", wanted)  # versions differ in what can be set
    return wandb.init(
        project=os.environ.get("WANDB_PROJECT", "tvrkit"),
        name=run.resolve().name,
        id=wandb_id,
        resume="allow",
        dir=str(run.resolve()),
        mode=mode,
        config=config_to_dict(config),
        settings=wandb.Settings(**{key: value for key, value in wanted.items() if key in known}),
    )


@contextmanager
def _traceless() -> Iterator[None]:
    """Where wandb's own process has died, wandb would print a traceback about that when this one ends."""
    try:
        yield
    except Exception:
        import wandb

        with suppress(Exception):
            wandb.teardown()
        raise


def _wandb_id(run: Path, step: int) -> str:
    """The id of the run that goes on, or a new one where training begins."""
    path = run / WANDB_FOLDER / WANDB_ID
    if step and path.is_file():
        return path.read_text(encoding="utf-8").strip()
    name = secrets.token_hex(4)
    write_text(path, name + "\n")
    return name


def _has_account(wandb: Any) -> bool:
    """Whether wandb would find a key; it asks on the terminal for one that it does not find, and waits."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(_address(wandb)).hostname or ""
    for name in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        try:
            if name and netrc.netrc(os.path.expanduser(name)).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _address(wandb: Any) -> str:
    return os.environ.get("WANDB_BASE_URL") or str(wandb.Settings().base_url)


def _reach(address: str) -> None:
    """Find out in a few seconds what wandb finds out in half a minute: whether anybody answers there at all."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=REACH_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # somebody did
    except urllib.error.URLError as error:
        raise OSError(f"{address}: {error.reason}") from None


def _words(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


_TRACKERS: dict[str, tuple[str, Callable[[Path, int, Config, Reporter], Tracker]]] = {
    "tensorboard": ("TensorBoard", _TensorBoard),
    "wandb": ("Weights & Biases", _WeightsAndBiases),
}
