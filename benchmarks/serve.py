"""What a server bears: questions over real sockets from 1, 4 and 16 clients, and what answering them together is worth.

The server is a process of its own, the clients are threads of this one, and both share the machine: read the ratios.
Each client keeps its connection and asks its next question when it has its answer. The text tower has the size of
CLIP ViT-B/32's (random weights cost the same), the index is synthetic (see search_data.py); everything is warm.

    python benchmarks/serve.py --small    # 500 videos, a small text tower; half a minute
    python benchmarks/serve.py            # 10,000 videos; a few minutes
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from timing import row

CLIENTS = (1, 4, 16)
COUNTS, THINGS = ("a", "two", "three", "many"), ("dog", "red car", "surfer", "child", "horse", "boat", "bird", "cook")
DOINGS = ("runs along the beach", "turns around slowly", "is filmed from above at night", "jumps", "waits in the rain")
QUESTIONS = [" ".join(words) for words in itertools.product(COUNTS, THINGS, DOINGS)]
ALONE = "alone"


def prepare(folder: Path, videos: int, small: bool) -> None:
    """A model and an index, saved."""
    import search_data

    from tvrkit.core import save_model

    if not small:
        text = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
        search_data.BACKBONE = {**search_data.BACKBONE, "text_cfg": text}
    model = search_data.make_model(folder)
    save_model(model, folder / "model")
    index, _ = search_data.fill(folder / "index", model, videos)
    index.close()


def serve_alone(folder: Path) -> None:
    """`tvrkit serve` with each question answered by itself, which no option of it asks for."""
    from tvrkit.cli.opening import open_with
    from tvrkit.core import load_model
    from tvrkit.serve.server import run
    from tvrkit.serve.settings import Settings

    model = load_model(folder / "model", "cpu")
    run(
        lambda: open_with(model, str(folder / "model"), str(folder / "index"), create=False),
        Settings(port=0, batching=False),
        folder / "cache",
        lambda address: print(f"Serving at {address}", file=sys.stderr),
    )


@contextmanager
def server(folder: Path, *, together: bool) -> Iterator[int]:
    """The port of a server in a process of its own."""
    command = [sys.executable, __file__, f"--{ALONE}", str(folder)]
    if together:
        command = [sys.executable, "-m", "tvrkit", "serve", "--port", "0", "--model", str(folder / "model")]
        command += ["--index", str(folder / "index")]
    environment = {**os.environ, "TVRKIT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True)
    try:
        assert process.stderr is not None
        words = ""
        for line in process.stderr:
            words += line
            if match := re.search(r"Serving at http://[^:]+:(\d+)", line):
                yield int(match[1])
                break
        else:
            raise SystemExit(words)
    finally:
        process.terminate()
        process.wait(30)


def load(port: int, clients: int, seconds: float) -> tuple[list[float], float]:
    """Seconds of each answer, and answers a second."""
    taken: list[float] = []
    end = time.perf_counter() + seconds

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for question in itertools.islice(itertools.cycle(QUESTIONS), number * 7, 1_000_000):
            started = time.perf_counter()
            connection.request("POST", "/api/search", json.dumps({"query": question}))
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            taken.append(time.perf_counter() - started)
            if time.perf_counter() > end:
                break
        connection.close()

    started = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken, len(taken) / (time.perf_counter() - started)


def measure(folder: Path, rounds: int, seconds: float) -> dict[tuple[bool, int], list[tuple[float, float, float]]]:
    """p50, p95 and answers a second of both servers, which take turns, for each round."""
    found: dict[tuple[bool, int], list[tuple[float, float, float]]] = {}
    with server(folder, together=True) as one, server(folder, together=False) as other:
        for port in (one, other):
            load(port, 2, 1.0)
        for clients, _, (together, port) in itertools.product(CLIENTS, range(rounds), ((True, one), (False, other))):
            taken, rate = load(port, clients, seconds)
            cuts = statistics.quantiles(taken, n=20)
            found.setdefault((together, clients), []).append((statistics.median(taken), cuts[-1], rate))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="few videos, a small text tower, for a quick look")
    parser.add_argument(f"--{ALONE}", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if folder := getattr(options, ALONE):
        serve_alone(Path(folder))
        return
    videos, rounds, seconds = (500, 3, 2.0) if options.small else (10_000, 3, 6.0)
    with tempfile.TemporaryDirectory(prefix="tvrkit-bench-") as name:
        prepare(Path(name), videos, options.small)
        found = measure(Path(name), rounds, seconds)
    names = ("p50", "p95", "rate")
    results = {
        key: dict(zip(names, map(statistics.median, zip(*values, strict=True)), strict=True))
        for key, values in found.items()
    }
    print(f"{videos} videos, loopback, {os.cpu_count()} cores for server and clients")
    print("clients   p50 ms   p95 ms   answers/s   alone: p50 ms   p95 ms   answers/s   together/alone")
    for clients in CLIENTS:
        ours, alone = results[True, clients], results[False, clients]
        print(
            f"{clients:7d} {ours['p50'] * 1e3:8.1f} {ours['p95'] * 1e3:8.1f} {ours['rate']:11.1f}"
            f" {alone['p50'] * 1e3:15.1f} {alone['p95'] * 1e3:8.1f} {alone['rate']:11.1f}"
            f" {ours['rate'] / alone['rate']:14.2f} x"
        )
        each = [[1 / rate for _, _, rate in found[together, clients]] for together in (True, False)]
        note = f"p95 {ours['p95'] * 1e3:.0f} ms, the rival {alone['p95'] * 1e3:.0f} ms"
        what = f"seconds an answer, {clients} client{'s' * (clients > 1)}, {videos} videos"
        row(what, "tvrkit serve, each question by itself", *each, note=note)


if __name__ == "__main__":
    main()
