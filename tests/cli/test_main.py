"""The entry point: fast help, exit codes, and a sentence for every failure."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import click
import pytest
from support import REPO, clean_environment
from tiny import write_video

from tvrkit.cli import COMMANDS, cli
from tvrkit.cli.failures import explain
from tvrkit.errors import ConfigError, DataError, VideoError

HEAVY = {"torch", "torchvision", "open_clip", "av", "decord", "rich", "numpy", "PIL", "textblob"}

MEASURE = """
import sys, time
from tvrkit.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert stop.code == 0, stop.code
print("LOADED", *sorted(sys.modules), file=sys.stderr)
print("CPU", time.process_time(), file=sys.stderr)
"""


def help_page(tmp_path, *words):
    """(text, modules loaded, CPU seconds since the interpreter started)."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *words, "--help"],
        capture_output=True, text=True, env=clean_environment(tmp_path), cwd=tmp_path, check=True,
    )  # fmt: skip
    loaded, cpu = done.stderr.splitlines()[-2:]
    return done.stdout, set(loaded.split()[1:]), float(cpu.split()[1])


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS), ("prepare", "shapes"), ("prepare", "msvd")])
def test_help_is_quick_and_loads_nothing_heavy(tmp_path, words):
    # The least of a few tries: other processes on the machine can only add to what it costs.
    tries = [help_page(tmp_path, *words) for _ in range(3)]
    text, loaded, _ = tries[0]
    assert text.startswith("Usage: tvrkit")
    assert not HEAVY & loaded
    assert min(cpu for _, _, cpu in tries) < 0.2


def test_help_lists_the_commands_in_the_order_of_work(run_cli):
    page = run_cli("--help").stdout
    listed = [line.split()[0] for line in page.partition("order of work:")[2].splitlines() if line.strip()]
    assert listed == [
        "doctor",
        "datasets",
        "prepare",
        "models",
        "train",
        "sweep",
        "ablate",
        "eval",
        "export",
        "convert",
        "calibrate",
        "index",
        "query",
        "shell",
        "similar",
        "filter",
        "serve",
        "demo",
    ]
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_summary_is_the_first_line_of_the_help(name):
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help.splitlines()[0] == COMMANDS[name]


def test_version(run_cli):
    from tvrkit import __version__

    assert run_cli("--version").stdout == f"tvrkit {__version__}\n"


@pytest.mark.parametrize(("arguments", "said"), [(["qerry"], "No such command"), (["train", "--nonsense"], "nonsense")])
def test_wrong_use_exits_with_2(run_cli, arguments, said):
    result = run_cli(*arguments)
    assert (result.code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_interrupted(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "tvrkit", "doctor"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(tmp_path), cwd=tmp_path,
    )  # fmt: skip
    said = process.stderr.readline()
    assert said.startswith("Checking")
    time.sleep(0.3)  # somewhere in the import of torch
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err.strip()) == (130, "", "Interrupted.")


def test_reader_of_a_pipe_that_left(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "tvrkit", "--help"],
        stdout=writing, stderr=subprocess.PIPE, text=True, env=clean_environment(tmp_path), check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full (Linux)")
def test_full_disk(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tvrkit", "--help"],
            stdout=full, stderr=subprocess.PIPE, text=True, env=clean_environment(tmp_path), check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the disk is full")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("package", "raises", "said"),
    [
        ("torchvision", "RuntimeError('operator torchvision::nms does not exist')", "do not fit each other"),
        ("torch", "ModuleNotFoundError(\"No module named 'torch'\", name='torch')", "torch is not installed"),
        (
            "torch",
            "OSError('libcudart.so.13: cannot open shared object file: No such file or directory')",
            "a library that torch needs is missing (libcudart",
        ),
        ("open_clip", "ModuleNotFoundError(\"No module named 'open_clip'\", name='open_clip')", "open_clip_torch"),
    ],
)
def test_broken_packages_are_explained(run_cli, tmp_path, package, raises, said):
    """A package that fails as it does on users' machines, found before the real one by a real process."""
    broken = tmp_path / "broken"
    (broken / package).mkdir(parents=True)
    (broken / package / "__init__.py").write_text(f"raise {raises}\n")
    clips = tmp_path / "clips"
    write_video(clips / "a.mp4", "red", "left")
    env = {"PYTHONPATH": f"{broken}{os.pathsep}{REPO}"}

    result = run_cli("query", "anything", "--videos", clips, "--model", "ViT-B-32/openai", env=env)
    assert result.code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert said in last
    assert "pip install" in last
    assert "Traceback" not in result.stderr

    row = run_cli("doctor", env=env)
    assert row.code == 1
    assert said in row.stderr
    assert "Traceback" not in row.stderr


def test_each_failure_has_its_sentence():
    assert explain(ConfigError("no such key.")) == "no such key."
    assert explain(VideoError("a.mp4", "no video stream")) == "a.mp4: no video stream"
    assert "disk is full" in explain(OSError(errno.ENOSPC, "No space left on device", "out.bin"))
    assert "disk is full" in explain(RuntimeError("Error while serializing: No space left on device (os error 28)"))
    assert explain(PermissionError(errno.EACCES, "Permission denied", "/data")) == "/data: Permission denied."
    assert "--device cpu" in explain(type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"))
    assert "memory is full" in explain(MemoryError())


def test_the_cause_behind_an_error_is_explained():
    try:
        try:
            raise RuntimeError("operator torchvision::nms does not exist")
        except RuntimeError as error:
            raise ValueError("cannot make the transform") from error
    except ValueError as error:
        assert "do not fit each other" in explain(error)


def test_the_unforeseen_names_itself_and_the_way_to_the_traceback():
    sentence = explain(ZeroDivisionError("division by zero"))
    assert "ZeroDivisionError: division by zero" in sentence
    assert "TVRKIT_TRACEBACK=1" in sentence
    assert "\n" not in explain(RuntimeError("first line\nsecond line"))


UNFORESEEN = """
import sys
import click
from tvrkit.cli import cli, main
@click.command()
def command():
    raise DataError("caption 3 is empty \\x1b[31m") if "foreseen" in sys.argv[1] else KeyError("lost")
from tvrkit.errors import DataError
cli.get_command = lambda context, name: command
main(["anything"])
"""


@pytest.mark.parametrize(("kind", "traceback"), [("foreseen", ""), ("other", ""), ("other", "1")])
def test_traceback_only_when_asked(tmp_path, kind, traceback):
    env = clean_environment(tmp_path, **({"TVRKIT_TRACEBACK": "1"} if traceback else {}))
    done = subprocess.run(
        [sys.executable, "-c", UNFORESEEN, kind], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == DataError.exit_code == 1
    assert ("Traceback" in done.stderr) == bool(traceback)
    assert "\x1b" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")


def test_bash_completion(tmp_path):
    """The line of docs/install.md, in a real bash that then completes `tvrkit pre` and `tvrkit query --vid`."""
    if not os.path.exists("/bin/bash"):
        pytest.skip("needs bash")
    command = tmp_path / "tvrkit"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tvrkit "$@"\n')
    command.chmod(0o755)
    env = clean_environment(tmp_path)
    env["PATH"] = f"{tmp_path}{os.pathsep}{env['PATH']}"
    line = next(row for row in (REPO / "docs/install.md").read_text().splitlines() if "bash_source" in row)
    script = f"""
        {line}
        source ~/.bashrc
        function=$(complete -p tvrkit | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=(tvrkit pre); COMP_CWORD=1; $function tvrkit; echo "${{COMPREPLY[@]}}"
        COMPREPLY=(); COMP_WORDS=(tvrkit query --vid); COMP_CWORD=2; $function tvrkit; echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["/bin/bash", "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["prepare", "--videos"], done.stderr
