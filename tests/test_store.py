"""The feature store: what is put comes back to the bit, whatever is killed, damaged, full or shared."""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import REPO, clean_environment

from tvrkit.errors import StoreError
from tvrkit.store import FeatureStore, segment
from tvrkit.store.catalogue import CATALOGUE, SCHEMA_VERSION


def item(number: int, frames: int = 4, dim: int = 8, dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    """Arrays that can be made again from their number alone."""
    generator = torch.Generator().manual_seed(number)
    return {
        "frame_features": torch.randn(frames, dim, generator=generator).to(dtype),
        "pts_seconds": torch.arange(frames, dtype=torch.float64) + number,
        "duration_seconds": torch.tensor(float(number), dtype=torch.float64),
    }


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def test_what_is_put_comes_back(tmp_path: Path) -> None:
    items = {f"k{i}": item(i, frames=1 + i % 5) for i in range(20)}
    with FeatureStore(tmp_path / "a/b") as store:
        assert store.missing(list(items)) == list(items)
        store.put(items)
        assert len(store) == 20
    with FeatureStore(tmp_path / "a/b") as store:
        assert store.missing(["k3", "new", "k3", "new", "k0"]) == ["new"]
        found = store.get(["k7", "nothing", "k2"])
        assert list(found) == ["k7", "k2"]
        for key, arrays in store.get(list(items)).items():
            assert_same(arrays, items[key])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(
        st.tuples(
            st.sampled_from([torch.float16, torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool]),
            st.lists(st.integers(0, 3), max_size=3),
        ),
        min_size=1,
        max_size=12,
    ),
    asked=st.randoms(use_true_random=False),
)
def test_any_shapes_and_types_in_one_put(tmp_path: Path, kinds: list, asked: random.Random) -> None:
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    items = {f"k{i}": {"x": (torch.rand(shape) * 9).to(dtype)} for i, (dtype, shape) in enumerate(kinds)}
    with FeatureStore(folder) as store:
        store.put(items)
        some = asked.sample(list(items), asked.randint(1, len(items)))
        for key, arrays in store.get(some).items():
            assert_same(arrays, items[key])


def test_rows_come_in_chunks_and_subsets(tmp_path: Path) -> None:
    items = {f"k{i:02d}": item(i, frames=1 + i % 3) for i in range(30)}
    with FeatureStore(tmp_path) as store:
        store.put(items)
        wanted = [f"k{i:02d}" for i in (*range(10), 11, 17, 29)]
        seen = []
        for rows in store.iter_rows(wanted, chunk=4):
            assert len(rows.keys) <= 4 and rows.scalars == {"duration_seconds"}
            parts = rows.tensors["frame_features"].split(rows.lengths["frame_features"].tolist())
            for key, part, seconds in zip(rows.keys, parts, rows.tensors["duration_seconds"], strict=True):
                assert torch.equal(part, items[key]["frame_features"]) and seconds == items[key]["duration_seconds"]
            seen += rows.keys
        assert sorted(seen) == wanted


def test_changing_what_was_read_changes_no_file(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as store:
        store.put({"a": item(1)})
        store.get(["a"])["a"]["frame_features"].zero_()
    with FeatureStore(tmp_path) as store:
        assert_same(store.get(["a"])["a"], item(1))


def test_the_last_put_counts_and_forgetting_makes_missing(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as store:
        store.put({"a": item(1), "b": item(2)})
        store.put({"a": item(3)})
        assert_same(store.get(["a"])["a"], item(3))
        assert_same(store.get(["b"])["b"], item(2))
        store.forget(["a"])
        assert store.missing(["a", "b"]) == ["a"] and store.get(["a"]) == {}


def test_failures_are_kept_until_forgotten_or_mended(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as store:
        store.put_failure("a", "not a video")
        store.put_failure("b", "bad name \udcff.mp4")
        store.put({"c": item(1)})
        store.put_failure("c", "now it fails")
    with FeatureStore(tmp_path) as store:
        assert store.missing(["a", "b", "c", "d"]) == ["d"]
        assert store.failures(["a", "b", "c", "d"]) == {
            "a": "not a video",
            "b": "bad name \\udcff.mp4",
            "c": "now it fails",
        }
        store.forget_failures(["a"])
        assert store.missing(["a", "b", "c"]) == ["a"]
        store.put({"b": item(2)})
        assert store.failures(["b"]) == {} and store.missing(["b"]) == []


@pytest.mark.parametrize("arrays", [{}, {"x.offsets": torch.zeros(2)}])
def test_arrays_that_the_format_cannot_hold(tmp_path: Path, arrays: dict[str, torch.Tensor]) -> None:
    with FeatureStore(tmp_path) as store, pytest.raises(ValueError, match="at least one array"):
        store.put({"a": arrays})


def test_many_small_segments_become_one(tmp_path: Path) -> None:
    reader = FeatureStore(tmp_path)
    with FeatureStore(tmp_path) as store:
        for i in range(3):
            store.put({f"k{i}": item(i)})
        assert reader.missing([f"k{i}" for i in range(3)]) == []  # it has mapped what will be merged away
        for i in range(3, 63):
            store.put({f"k{i}": item(i)})
        store.put({"k5": item(500)})
        assert len(segments(tmp_path)) == 1
        wanted = {f"k{i}": item(i) for i in range(63)} | {"k5": item(500)}
        for any_store in (store, reader):
            for key, arrays in any_store.get(list(wanted)).items():
                assert_same(arrays, wanted[key])
    reader.close()


def test_segments_whose_items_were_all_replaced_go(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as store:
        for i in range(70):
            store.put({"same": item(i)})
        assert len(segments(tmp_path)) < 10
        assert_same(store.get(["same"])["same"], item(69))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_cut, _zero, _one_bit, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_segment_is_named_and_dropped(tmp_path: Path, damage, caplog) -> None:
    with FeatureStore(tmp_path) as store:
        store.put({"a": item(1), "b": item(2)})
        store.put({"c": item(3)})
    broken = segments(tmp_path)[0]
    damage(broken)
    with FeatureStore(tmp_path) as store, caplog.at_level(logging.WARNING, "tvrkit.store"):
        assert store.missing(["a", "b", "c"]) == ["a", "b"]
        assert str(broken) in caplog.text and "damaged" in caplog.text
        assert not broken.exists()
        assert_same(store.get(["a", "c"])["c"], item(3))
        store.put({"a": item(1)})
    with FeatureStore(tmp_path) as store:
        assert store.missing(["a", "b", "c"]) == ["b"]


@pytest.mark.parametrize("content", [b"not sqlite at all" * 500, b"", None])
def test_a_lost_or_damaged_catalogue_is_remade_from_the_segments(tmp_path: Path, content: bytes | None, caplog) -> None:
    with FeatureStore(tmp_path) as store:
        store.put({"a": item(1), "b": item(2)})
        store.put({"a": item(9)})
    (tmp_path / "zzz.safetensors").write_bytes(b"garbage")
    if content is None:
        (tmp_path / CATALOGUE).unlink()
    else:
        (tmp_path / CATALOGUE).write_bytes(content)
    with FeatureStore(tmp_path) as store:
        assert store.missing(["a", "b", "c"]) == ["c"]
        assert_same(store.get(["a"])["a"], item(9))  # the later segment counts
    assert ("remade" in caplog.text or "made anew" in caplog.text) == bool(content)


def test_a_catalogue_damaged_in_its_middle_is_a_sentence(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as store:
        store.put({f"some long key {i:06d}": {"x": torch.zeros(1)} for i in range(3000)})
    data = bytearray((tmp_path / CATALOGUE).read_bytes())
    data[-40 * 1024 :] = os.urandom(40 * 1024)
    (tmp_path / CATALOGUE).write_bytes(data)
    with FeatureStore(tmp_path) as store, pytest.raises(StoreError, match=r"malformed.*Delete .*catalogue.sqlite"):
        store.missing([f"some long key {i:06d}" for i in range(3000)])


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as store:
        store.put({"a": item(1)})
    db = sqlite3.connect(tmp_path / CATALOGUE)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StoreError, match="newer tvrkit.*update tvrkit"):
        FeatureStore(tmp_path)


def test_a_file_in_the_folder_s_place(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(StoreError, match="cannot make the cache folder"):
        FeatureStore(tmp_path / "cache")


def test_a_locked_catalogue_is_a_sentence_and_nothing_is_half_stored(tmp_path: Path) -> None:
    with FeatureStore(tmp_path, busy_seconds=0.05) as store:
        store.put({"a": item(1)})
        other = sqlite3.connect(tmp_path / CATALOGUE, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            store.put({"b": item(2)})
        other.execute("ROLLBACK")
        other.close()
        assert store.missing(["a", "b"]) == ["b"] and len(segments(tmp_path)) == 1
        store.put({"b": item(2)})
        assert store.missing(["a", "b"]) == []


def test_a_full_disk_is_a_sentence_and_nothing_is_lost(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with FeatureStore(tmp_path) as store:
        store.put({"a": item(1)})
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        try:
            with pytest.raises(StoreError, match="cannot write to the cache"):
                store.put({"big": {"x": torch.zeros(100_000)}})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert store.missing(["a", "big"]) == ["big"]
        assert len(list(tmp_path.iterdir())) == 2  # no litter: one segment, the catalogue
        store.put({"big": {"x": torch.zeros(100_000)}})
        assert store.missing(["big"]) == []


def test_litter_of_killed_writers_is_swept_when_it_is_old(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as store:
        store.put({"a": item(1)})
    litter = [tmp_path / name for name in ("0-dead.safetensors", ".0-dead.safetensors.x1.tmp", ".tmpAb1xY9")]
    fresh = tmp_path / "1-alive.safetensors"
    foreign = tmp_path / "notes.txt"
    for path in (*litter, fresh, foreign):
        path.write_bytes(b"half")
    for path in (*litter, foreign):
        os.utime(path, (time.time() - 7200,) * 2)
    with FeatureStore(tmp_path) as store:
        store.put({"b": item(2)})
    assert not any(path.exists() for path in litter)
    assert fresh.exists() and foreign.exists()


# -- other processes

WRITER = """
import sys, torch
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_store import item
import tvrkit.store as module
from tvrkit.store import FeatureStore
folder, first, count, batch, merge = sys.argv[1], *map(int, sys.argv[2:])
module._MERGE_COUNT = merge  # merging happens while killed, too
with FeatureStore(Path(folder)) as store:
    print("ready", flush=True)
    for start in range(first, first + count, batch):
        numbers = range(start, min(start + batch, first + count))
        store.put({{f"k{{i}}": item(i, frames=1 + i % 4) for i in numbers}})
        print(numbers[-1], flush=True)
"""


def writer(folder: Path, first: int, count: int, batch: int = 4, merge: int = 8) -> subprocess.Popen[str]:
    code = WRITER.format(tests=str(REPO / "tests"))
    arguments = [str(folder), *map(str, (first, count, batch, merge))]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(folder.parent),
    )


def verify(folder: Path, committed: dict[str, int]) -> int:
    """All that was acknowledged is there, and every row that is there is right; returns their number."""
    with FeatureStore(folder) as store:
        with closing(sqlite3.connect(folder / CATALOGUE)) as db:
            numbers = [int(key[1:]) for (key,) in db.execute("SELECT key FROM items")]
        found = store.get([f"k{i}" for i in numbers])
        assert len(found) == len(numbers) == len(store)
        for i in numbers:
            assert_same(found[f"k{i}"], item(i, frames=1 + i % 4))
        assert store.missing([f"k{i}" for i in committed.values()]) == []
    return len(numbers)


@pytest.mark.slow
def test_killed_at_any_moment_nothing_acknowledged_is_lost(tmp_path: Path, caplog) -> None:
    folder, chance = tmp_path / "store", random.Random(0)
    acknowledged: dict[str, int] = {}
    first = rounds = 0
    while rounds < 12 or (rounds < 100 and len(acknowledged) <= 100):  # a slow machine keeps less in each
        rounds += 1
        with writer(folder, first, 4000) as process:
            assert process.stdout and process.stdout.readline() == "ready\n"
            time.sleep(chance.random() * 0.4)
            process.send_signal(signal.SIGKILL)
            done = [int(line) for line in process.stdout.read().split()]
        if done:
            acknowledged |= {str(i): i for i in range(first, done[-1] + 1)}
            first = done[-1] + 1
        kept = verify(folder, acknowledged)
        assert len(acknowledged) <= kept <= len(acknowledged) + 4 * rounds  # at most the batch in flight each time
    assert len(acknowledged) > 100
    assert "damaged" not in caplog.text


@pytest.mark.parametrize(
    ("where", "name"), [(segment, "checksum_of"), (torch.UntypedStorage, "from_file")], ids=["summed", "mapped"]
)
def test_a_segment_that_is_merged_away_while_it_is_opened(tmp_path: Path, monkeypatch, caplog, where, name) -> None:
    step = getattr(where, name)
    with FeatureStore(tmp_path) as ours, FeatureStore(tmp_path) as other:
        for i in range(63):
            other.put({f"k{i}": item(i)})

        met: list[str] = []

        def merged_meanwhile(path: str | Path, *more: object, **named: object) -> object:
            monkeypatch.setattr(where, name, step)
            other.put({"k63": item(63)})  # the 64th small segment: all of them become one
            assert not Path(path).exists()
            met.append(name)
            return step(path, *more, **named)

        monkeypatch.setattr(where, name, merged_meanwhile)
        found = ours.get([f"k{i}" for i in range(63)])
        assert met == [name]
        assert len(found) == 63
        for i in range(63):
            assert_same(found[f"k{i}"], item(i))
    assert "damaged" not in caplog.text


@pytest.mark.slow
def test_two_writers_and_a_reader_at_once(tmp_path: Path, caplog) -> None:
    folder = tmp_path / "store"
    writers = [writer(folder, 0, 240), writer(folder, 120, 240)]  # 120 of the keys are written by both
    with FeatureStore(folder) as store:
        while any(process.poll() is None for process in writers):
            for key, arrays in store.get([f"k{i}" for i in range(360)]).items():
                number = int(key[1:])
                assert_same(arrays, item(number, frames=1 + number % 4))
    for process in writers:
        with process:
            assert process.wait() == 0
    assert verify(folder, {str(i): i for i in range(360)}) == 360
    assert "damaged" not in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root, to become a user who may only read")
def test_a_folder_that_cannot_be_written_can_be_read(tmp_path: Path) -> None:
    code = """
import json, os, sys
from pathlib import Path
import torch
from tvrkit.errors import StoreError
from tvrkit.store import FeatureStore
os.setgid(65534); os.setuid(65534)
with FeatureStore(Path(sys.argv[1])) as store:
    answers = [store.missing(["a", "b"]), store.get(["a"])["a"]["pts_seconds"].tolist()]
    for write in (lambda: store.put({"b": {"x": torch.zeros(1)}}), lambda: store.put_failure("b", "no")):
        try:
            write()
        except StoreError as error:
            answers.append(str(error))
try:
    FeatureStore(Path(sys.argv[1]) / "new")
except StoreError as error:
    answers.append(str(error))
print(json.dumps(answers))
"""
    folder = tmp_path / "store"
    with FeatureStore(folder) as store:
        store.put({"a": item(1)})
    for parent in (folder, *folder.parents):
        if parent.owner() == "root" and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, env=clean_environment(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    missing, pts, put, failure, new = json.loads(done.stdout)
    assert missing == ["b"] and pts == [1.0, 2.0, 3.0, 4.0]
    assert all("cannot write to the cache" in sentence for sentence in (put, failure))
    assert "cannot make the cache folder" in new and "Permission denied" in new
