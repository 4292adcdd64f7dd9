"""Search: building an index, what it takes on disk and in memory, and how fast and how true its answers are.

Part 1 indexes real clips, from files to searchable videos, and splits the time; beside it the way of clip-video-encode:
every frame at a fixed rate, decoded in order, one by one. Part 2 fills an index with synthetic features (see
search_data.py), and asks it, brute force in torch, and stores of the field the same questions in the same process.

What is compared takes turns in one process, after one question to warm up; the column `passes` sets medians beside one
pass over the pooled vectors in memory, in the same turns.

    python benchmarks/search.py                    # 1,000, 10,000 and 100,000 videos (4 GB of memory, 5 GB of disk)
    python benchmarks/search.py --small            # 1,000 videos, 10,000 without other stores; a minute or two
    python benchmarks/search.py --videos 20000     # that many; --without-stores leaves the other stores out
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from search_data import DIM, FRAMES, as_queries, fill, make_model, make_texts
from search_files import files_to_searchable
from search_rivals import Rival, brute_force, left_out, stores
from timing import row, skipped

from tvrkit.core import TextFeatures
from tvrkit.encode.moments import POOLED
from tvrkit.index.ask import Ask
from tvrkit.index.ask import text as ask_for
from tvrkit.index.measure import exact_scores
from tvrkit.index.parts import Query
from tvrkit.index.search import Searcher

ASK = ask_for("as encoded")
EXACT: Ask = ask_for("as encoded", exact=True)
QUESTIONS = 64


def p50_p95(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    return f"{statistics.median(ordered) * 1e3:7.1f} {ordered[int(0.95 * (len(ordered) - 1))] * 1e3:7.1f}"


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def clients(search: Callable[[int], object], number: int, questions: int) -> tuple[list[float], float]:
    """Seconds of each question, asked by so many threads at once, and questions a second."""
    seconds: list[list[float]] = [[] for _ in range(number)]

    def ask(client: int) -> None:
        for i in range(client, questions, number):
            seconds[client].append(timed(lambda i=i: search(i % QUESTIONS)))

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(number)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [value for some in seconds for value in some], questions / (time.perf_counter() - start)


MEMORY = """
import sys
from pathlib import Path
from tvrkit.index.segments import SegmentIndex
def held():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024
with SegmentIndex(sys.argv[1]) as index:
    import torch, tvrkit.index.gallery
    before = held()
    engine = index.engine()
    print(f"{held() - before:,.0f} MB of memory, {engine.bytes / 1e6:,.0f} MB of it pooled vectors")
"""


def memory(folder: Path) -> str:
    """What a process that opens the index holds, beyond torch and what is mapped from files."""
    if not Path("/proc/self/status").exists():
        return "memory is measured on Linux only"
    done = subprocess.run([sys.executable, "-c", MEMORY, str(folder)], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def a_pass(videos: int) -> Callable[[int], object]:
    """One pass over as many pooled vectors in memory, in the type that torch is fastest with."""
    vectors, query = torch.randn(videos * POOLED, DIM).bfloat16(), torch.randn(DIM, 1).bfloat16()
    return lambda _: vectors @ query


def in_turns(functions: Mapping[str, Callable[[int], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each, called in turn: what else the machine does then hits all alike. One call each to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(turns + 1):
        for name, function in functions.items():
            taken = timed(partial(function, turn % QUESTIONS))
            if turn:
                seconds[name].append(taken)
    return seconds


def recall(found: Sequence[Sequence[int]], exact: Sequence[Sequence[int]]) -> float:
    return statistics.mean(len(set(a[:10]) & set(b)) / len(b) for a, b in zip(found, exact, strict=True))


def exact_answers(searcher: Searcher, queries: list[Query], number_of: dict[str, int]) -> list[list[int]]:
    """The ten best videos of every question, every moment scored in full; read once for all questions."""
    names = sorted(number_of)
    scores = exact_scores(searcher.engine, {"all": queries})["all"]
    return [[number_of[names[i]] for i in row] for row in scores.topk(10).indices.tolist()]


@dataclass
class Bench:
    """What all lines of one size share."""

    one_pass: Callable[[int], object]
    texts: TextFeatures
    exact: list[list[int]]
    recalls: dict[str, float] = field(default_factory=dict)

    def lines(self, ways: Mapping[str, tuple[Callable[[int], list[int]], str]], turns: int) -> dict[str, list[float]]:
        """Times ways and a pass in turn, and prints a line for each way."""
        seconds = in_turns({PASS: self.one_pass, **{name: way for name, (way, _) in ways.items()}}, turns)
        for name, (way, more) in ways.items():
            found = [way(i) for i in range(min(QUESTIONS, 2 * turns))]
            self.line(name, seconds[name], statistics.median(seconds[PASS]), found, more)
        return seconds

    def line(
        self, name: str, seconds: Sequence[float], one_pass: float, found: Sequence[Sequence[int]], more: str
    ) -> None:
        ratio, share = statistics.median(seconds) / one_pass, recall(found, self.exact[: len(found)])
        self.recalls[name] = share
        print(f"  {name:<52} {p50_p95(seconds)} {ratio:8.2f} {share:10.3f}   {more}", flush=True)

    def way(self, rival: Rival) -> tuple[Callable[[int], list[int]], str]:
        built = "" if math.isnan(rival.build_seconds) else f", built in {rival.build_seconds:.1f} s"
        return lambda i: rival.search(self.texts[i : i + 1]), f"{rival.bytes / 1e6:,.0f} MB{built}"


PASS, OWN = "one pass over the pooled vectors, bfloat16", "tvrkit, 1 client"


@torch.no_grad()
def synthetic(folder: Path, videos: int, *, with_stores: bool, turns: int) -> None:
    """Part 2."""
    folder.mkdir()
    model = make_model(folder)
    index, written = fill(folder / "index", model, videos)
    print(f"\n{videos:,} videos x {FRAMES} frames x {DIM}, float16:")
    print(f"  written in {written:.1f} s, {index.status().bytes / 1e6:,.0f} MB on disk")
    gallery_seconds = timed(index.engine)
    print(f"  opened in {gallery_seconds:.2f} s; {memory(folder / 'index')}")
    searcher, texts = Searcher(model, index.engine()), make_texts(QUESTIONS, videos)
    queries, number_of = as_queries(model, texts), {row.identity: int(Path(row.path).stem) for row in index.files()}
    index.close()
    bench = Bench(a_pass(videos), texts, exact_answers(searcher, queries, number_of))

    def ask(i: int, question: Ask = ASK) -> list[int]:
        return [number_of[hit.identity] for hit in searcher.answer(question, [queries[i]]).hits]

    print(f"  {'':<52} p50 ms  p95 ms   passes  recall@10")
    own = {OWN: (ask, "")}
    brute = {rival.name: bench.way(rival) for rival in brute_force(videos, torch.bfloat16)}
    seconds = bench.lines({**own, **brute}, turns)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"  {PASS:<52} {p50_p95(seconds[PASS])}     1.00")
    several, rate = clients(ask, 4, 2 * QUESTIONS)
    found = [ask(i) for i in range(QUESTIONS)]
    bench.line("tvrkit, 4 clients (threads)", several, medians[PASS], found, f"{rate:.0f} questions/s")
    bench.lines({"tvrkit, every moment scored in full": (partial(ask, question=EXACT), "")}, 2)
    for name in brute:
        print(f"  tvrkit is {medians[name] / medians[OWN]:.1f} times as fast as {name}")
    del brute
    gc.collect()
    plain = {rival.name: bench.way(rival) for rival in brute_force(videos, torch.float32)}
    _rows(videos, bench, seconds)
    _rows(videos, bench, bench.lines({**own, **plain}, min(turns, 8)))
    del plain
    gc.collect()
    for make in stores(videos, folder) if with_stores else ():
        rival = make()
        _rows(videos, bench, bench.lines({**own, rival.name: bench.way(rival)}, turns))
    for name, reason in left_out(videos) if with_stores else ():
        skipped(f"{videos:,} videos: {name}", reason)


def _rows(videos: int, bench: Bench, seconds: Mapping[str, Sequence[float]]) -> None:
    """For results.py: a question against every other way of the same turns."""
    for name in (name for name in seconds if name not in (PASS, OWN)):
        note = f"recall@10 {bench.recalls[OWN]:.3f}, the rival {bench.recalls[name]:.3f}"
        row(f"a question among {videos:,} videos of {FRAMES} frames", name, seconds[OWN], seconds[name], note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--videos", type=int, action="append", metavar="N")
    parser.add_argument("--without-stores", action="store_true")
    parser.add_argument("--without-files", action="store_true")
    options = parser.parse_args()
    sizes = options.videos or ([1000, 10_000] if options.small else [1000, 10_000, 100_000])
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        if not options.without_files:
            files_to_searchable(Path(name), small=options.small)
        for videos in sizes:
            turns = 8 if options.small else 32
            with_stores = not options.without_stores and (videos == 1000 or not options.small)
            synthetic(Path(name) / str(videos), videos, with_stores=with_stores, turns=turns)


if __name__ == "__main__":
    main()
