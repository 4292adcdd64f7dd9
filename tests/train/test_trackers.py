from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading

import pytest
from support import clean_environment
from wandb_files import offline_runs, read_offline

from tvrkit.config import config_from_dict
from tvrkit.reporting import Silent
from tvrkit.train.log import RunLog

TRAINING = """
import json, os, signal, sys, time, warnings
warnings.simplefilter("error")
from pathlib import Path
from tvrkit.train import trackers
from tvrkit.config import config_from_dict
from tvrkit.train.log import RunLog
from tvrkit.cli import output

def processes_of_wandb():
    lines = {p.name: (p / "cmdline").read_bytes() for p in Path("/proc").glob("[0-9]*")}
    return [int(p) for p, line in lines.items() if b"wandb-core" in line and f"--pid\\0{os.getpid()}".encode() in line]

handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
trackers.WANDB_SECONDS = float(os.environ.get("PATIENCE", 120))
trackers.REACH_SECONDS = 60.0
config = config_from_dict({"train": {"trackers": ["wandb"], "seed": 7, "select_by": "t2v/MnR"}})
first, last, kill = map(int, sys.argv[1:])
with RunLog(Path("run"), first - 1, output, config) as log:
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    for step in range(first, last + 1):
        log.write(step, {"loss": 1 / step, "epoch": 0})
        if step == kill:
            for process in processes_of_wandb():
                os.kill(process, signal.SIGKILL)
            while processes_of_wandb():
                time.sleep(0.01)
    log.write(last, {"epoch": 0, "validation": {"split": "val", "t2v": {"MnR": 10.0 - last}}})
"""


class Report(Silent):
    def __init__(self):
        self.words, self.warnings = [], []

    def say(self, text):
        self.words.append(text)

    def warn(self, text):
        self.warnings.append(text)


def train_with_wandb(folder, first, last, kill=0, **environment):
    """The script in a process of its own, whose home is `folder`/home; returns what it said."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(first), str(last), str(kill)],
        cwd=folder,
        env=clean_environment(home, **environment),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and not list(home.iterdir())  # nothing on the terminal, nothing in the home folder
    return done.stderr.splitlines()


def logged(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_tracker_that_is_not_installed_costs_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    report = Report()
    config = config_from_dict({"train": {"trackers": ["wandb", "wandb"]}})
    with RunLog(tmp_path, 0, report, config) as log:
        log.write(1, {"loss": 0.5})
    assert report.warnings == ['No Weights & Biases log: `pip install "tvrkit[wandb]"` brings it.']
    assert logged(tmp_path) == [{"step": 1, "loss": 0.5}] and not (tmp_path / "tensorboard").exists()


def test_a_tracker_that_fails_is_given_up_with_one_warning(tmp_path):
    pytest.importorskip("tensorboard")
    report = Report()
    (tmp_path / "tensorboard").write_text("where a folder should be")
    with RunLog(tmp_path, 0, report) as log:
        log.write(1, {"loss": 0.5})
    assert logged(tmp_path) == [{"step": 1, "loss": 0.5}]
    assert len(report.warnings) == 1 and report.warnings[0].startswith("TensorBoard does not work (")
    assert report.warnings[0].endswith("): training goes on without it, log.jsonl has all numbers.")


@pytest.mark.slow
def test_wandb_offline_needs_no_account_and_goes_on_with_the_same_run(tmp_path):
    pytest.importorskip("wandb")
    said = train_with_wandb(tmp_path, 1, 3)
    assert said == [
        "Weights & Biases is offline, as no account is known here (`wandb login`):"
        " `wandb sync run/wandb/offline-run-*` uploads the run."
    ]
    train_with_wandb(tmp_path, 3, 4)
    first, second = offline_runs(tmp_path / "run")
    assert first.name == second.name == f"run-{(tmp_path / 'run' / 'wandb' / 'id.txt').read_text().strip()}.wandb"
    config, history = read_offline(first)
    assert config["train"]["seed"] == 7 and config["model"]["backbone"] == "ViT-B-32"
    assert history == {
        1: {"loss": 1.0, "epoch": 0},
        2: {"loss": 0.5, "epoch": 0},
        3: {"loss": 1 / 3, "epoch": 0, "validation/t2v/MnR": 7.0},
    }
    assert set(read_offline(second)[1]) == {3, 4}
    assert [line["step"] for line in logged(tmp_path / "run")] == [1, 2, 3, 4, 4]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"log.jsonl", "wandb"}


@pytest.mark.slow
def test_wandb_that_dies_is_given_up_with_one_warning(tmp_path):
    pytest.importorskip("wandb")
    said = train_with_wandb(tmp_path, 1, 40, kill=3)
    assert len(said) == 2 and said[1].startswith("Warning: Weights & Biases does not work (")
    assert len(logged(tmp_path / "run")) == 41


@pytest.mark.slow
@pytest.mark.parametrize("answers", [False, True], ids=["nobody-there", "refuses"])
def test_wandb_that_cannot_be_reached_keeps_the_numbers_here(tmp_path, answers):
    """A server that is not there, and one that takes no key."""
    pytest.importorskip("wandb")

    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        if answers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        else:
            server.server_close()
        said = train_with_wandb(tmp_path, 1, 2, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=address)
        if answers:
            server.shutdown()
    assert len(said) == 1
    assert said[0].startswith("Weights & Biases is offline, as it cannot be reached (")
    assert said[0].endswith("): `wandb sync run/wandb/offline-run-*` uploads the run.")
    [kept] = offline_runs(tmp_path / "run")
    assert set(read_offline(kept)[1]) == {1, 2}


class Falls(http.server.BaseHTTPRequestHandler):
    """The little of Weights & Biases that begins a run, until the first numbers come: then it answers nobody."""

    silent = threading.Event()

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/graphql":
            self.silent.set()
        if self.silent.is_set():
            threading.Event().wait(600)
        asked, data = json.loads(body), {"model": {"name": "tvrkit", "bucket": None}}
        if "UpsertBucket" in asked["query"]:
            project, name = {"name": "tvrkit", "entity": {"name": "me"}}, asked["variables"]["name"]
            bucket = {"id": "b", "name": name, "displayName": name, "config": "{}", "historyLineCount": 0}
            data = {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": True}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"data": data}).encode())

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_wandb_that_goes_away_holds_training_up_for_a_moment_only(tmp_path):
    pytest.importorskip("wandb")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Falls) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        said = train_with_wandb(tmp_path, 1, 20, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=address, PATIENCE="20")
        server.shutdown()
    assert len(said) == 1
    assert said[0].startswith("Warning: Weights & Biases did not take all numbers in 20 s: `wandb sync ")
    folder = tmp_path / said[0].split("`")[1].removeprefix("wandb sync ")
    [kept] = folder.glob("*.wandb")
    assert set(read_offline(kept)[1]) == set(range(1, 21))
    assert len(logged(tmp_path / "run")) == 21
