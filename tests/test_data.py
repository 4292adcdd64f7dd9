from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from limits import file_size_limit
from team import run_team
from tiny import make_data
from torchvision import transforms

from tvrkit.data import (
    Batch,
    Pair,
    Quarantine,
    Unreadable,
    decoded_batches,
    frame_request,
    pad_frames,
    pair_seed,
    pairs_of,
    with_key_words,
)
from tvrkit.distributed import Team
from tvrkit.errors import DataError, VideoError
from tvrkit.frames.pool import DecodePool
from tvrkit.manifest import Manifest, Record, read_manifest

_SMALL = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])


def _request(manifest, records, pair):
    return frame_request(manifest, records[pair.video], 4)


def record(video_id, captions=("a dog runs",), **more):
    return Record(video_id, f"{video_id}.mp4", tuple(captions), split="train", **more)


def test_pairs_are_every_caption_of_every_video():
    records = [record("a", ("one", "two")), record("b", ()), record("c")]
    assert pairs_of(records) == [Pair(0, 0), Pair(0, 1), Pair(2, 0)]
    with pytest.raises(DataError, match="no video of this split has a caption"):
        pairs_of([record("b", ())])


def test_frames_are_padded_and_masked():
    frames, mask = pad_frames([np.ones((2, 3), np.float32), np.full((4, 3), 2.0, np.float32)], 5)
    assert frames.shape == (2, 5, 3) and frames.dtype == torch.float32
    assert mask.tolist() == [[True, True, False, False, False], [True, True, True, True, False]]
    assert frames.sum().item() == 2 * 3 + 4 * 3 * 2  # nothing but zeros under the mask
    for bad in ([], [np.ones((0, 3))], [np.ones((6, 3))]):
        with pytest.raises(ValueError, match="1 to 5 frames"):
            pad_frames(bad, 5)


def test_a_batch_knows_which_rows_show_the_same_video():
    batch = Batch((Pair(3, 0), Pair(1, 2), Pair(3, 1)), torch.zeros(3, 1, 2), torch.ones(3, 1, dtype=torch.bool))
    assert batch.video_ids.tolist() == [3, 1, 3]


def test_a_request_has_the_span_of_its_record(tmp_path):
    span = record("a", start_seconds=1.5, end_seconds=3.0)
    request = frame_request(Manifest("x", (span,), root=tmp_path), span, 7, "random", 5)
    assert (request.path, request.num_frames, request.sampling) == (str(tmp_path / "a.mp4"), 7, "random")
    assert (request.start_seconds, request.end_seconds, request.seed) == (1.5, 3.0, 5)


def test_each_pair_has_a_seed_of_its_own_in_each_epoch():
    seeds = {pair_seed(s, e, Pair(v, c)) for s in range(2) for e in range(3) for v in range(5) for c in range(4)}
    assert len(seeds) == 2 * 3 * 5 * 4
    assert pair_seed(1, 2, Pair(3, 4)) == pair_seed(1, 2, Pair(3, 4))


def test_key_words_are_tagged_where_the_manifest_lacks_them():
    tagged = record("a", ("the dog runs",), key_words=(((0, 3),),))  # as some tagger of yore had it
    bare = record("b", ("a red car", "it stops"))
    fresh = with_key_words(Manifest("x", (tagged, bare)), [tagged, bare])
    assert fresh[0].key_words == tagged.key_words
    assert len(fresh[1].key_words) == 2
    assert (2, 5) in fresh[1].key_words[0] and (6, 9) in fresh[1].key_words[0]
    stale = with_key_words(Manifest("x", (tagged,), tagger="another tagger 0.1"), [tagged])
    assert (4, 7) in stale[0].key_words[0] and (0, 3) not in stale[0].key_words[0]


def test_quarantine_names_counts_and_remembers(tmp_path):
    records = [record(str(i)) for i in range(30)]
    quarantine = Quarantine(tmp_path / "run" / "quarantine.jsonl", records)
    assert quarantine.add(4, VideoError("/v/4.mp4", "no frame"))
    assert not quarantine.add(4, VideoError("/v/4.mp4", "no frame"))
    assert len(quarantine) == 1 and 4 in quarantine and 5 not in quarantine
    with (tmp_path / "run" / "quarantine.jsonl").open("a") as file:
        file.write('[]\n3\n{"video_id": "7", "path"')  # a kill in the middle of a line
    again = Quarantine(tmp_path / "run" / "quarantine.jsonl", records)
    assert 4 in again and len(again) == 1
    assert again.add(8, VideoError("/v/8.mp4", "no frame"))  # behind the broken line
    assert again.add(9, VideoError("/v/9.mp4", "no frame"))
    assert {row for row in range(30) if row in Quarantine(tmp_path / "run" / "quarantine.jsonl", records)} == {4, 9}
    lines = (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"video_id": "4", "path": "/v/4.mp4", "reason": "no frame"}


def test_a_quarantine_that_cannot_be_written_counts_all_the_same(tmp_path):
    quarantine = Quarantine(tmp_path / "q.jsonl", [record(str(i)) for i in range(30)])
    with file_size_limit(10):
        assert quarantine.add(4, VideoError("4.mp4", "broken"))
    assert 4 in quarantine


def test_too_many_unreadable_videos_are_an_error(tmp_path):
    quarantine = Quarantine(tmp_path / "q.jsonl", [record(str(i)) for i in range(30)])
    for row in range(3):
        quarantine.add(row, VideoError(f"{row}.mp4", "broken"))
    with pytest.raises(DataError, match=r"4 of 30 training videos cannot be read.*more than 10%.*3\.mp4: broken"):
        quarantine.add(3, VideoError("3.mp4", "broken"))


def test_what_one_process_notes_counts_once_all_have_merged_it(tmp_path):
    records = [record(str(i)) for i in range(30)]
    quarantine = Quarantine(tmp_path / "q.jsonl", records)
    quarantine.note(4, VideoError("4.mp4", "no frame"))
    quarantine.note(4, VideoError("4.mp4", "no frame"))  # another caption of it
    assert 4 not in quarantine and not (tmp_path / "q.jsonl").exists()
    news = quarantine.news()
    assert [found.row for found in news] == [4, 4] and not quarantine.news()
    told = quarantine.merge([*news, Unreadable(9, VideoError("9.mp4", "of another process"))])
    assert [error.path for error in told] == ["4.mp4", "9.mp4"] and 4 in quarantine and 9 in quarantine
    assert quarantine.merge(news) == []
    assert len((tmp_path / "q.jsonl").read_text().splitlines()) == 2


def _merged(team, folder):
    """What each process of a team has after all of them failed at videos of their own."""
    records = [record(str(i)) for i in range(40)]
    quarantine = Quarantine(folder / "q.jsonl", records, team=team)
    before = len(quarantine)
    quarantine.note(10 + team.rank, VideoError(f"{10 + team.rank}.mp4", "broken"))
    news = [found for part in team.objects(quarantine.news()) for found in part]
    told = [error.path for error in quarantine.merge(news)]
    return before, told, sorted(row for row in range(40) if row in quarantine)


@pytest.mark.slow
def test_a_team_has_one_quarantine(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"video_id": "3", "path": "3.mp4", "reason": "gone"}\n')
    results = run_team(_merged, 2, tmp_path)
    assert results == [(1, ["10.mp4", "11.mp4"], [3, 10, 11])] * 2
    lines = (tmp_path / "q.jsonl").read_text().splitlines()
    assert [json.loads(line)["video_id"] for line in lines] == ["3", "10", "11"]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_parts_of_a_team_make_the_batch(tmp_path, size):
    manifest = read_manifest(make_data(tmp_path, train=10, val=0, test=0, captions=1))
    (tmp_path / "videos" / "train5.mp4").write_bytes(b"")
    records = manifest.split("train")
    order = [(Pair(7, 0), Pair(9, 0), Pair(5, 0), Pair(2, 0)), (Pair(9, 0), Pair(0, 0), Pair(3, 0))]
    parts = []
    for rank in range(size):
        quarantine = Quarantine(tmp_path / "q.jsonl", records)
        quarantine.add(9, VideoError("9.mp4", "broken before"))
        with DecodePool(0, _SMALL) as pool:
            request_of = partial(_request, manifest, records)
            parts.append(list(decoded_batches(order, request_of, pool, quarantine, 4, Team(rank, size))))
    whole = [[pair.video for part in parts if part[i] for pair in part[i].pairs] for i in range(2)]
    assert whole == [[7, 2], [0, 3]]
    lengths = [len(part[1]) if part[1] else 0 for part in parts]
    assert sum(lengths) == 2 and max(lengths) == (2 if size == 1 else 1)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_come_in_order_without_the_unreadable(tmp_path, workers):
    manifest = read_manifest(make_data(tmp_path, train=12, val=0, test=0, captions=1))
    (tmp_path / "videos" / "train5.mp4").write_bytes(b"")
    records = manifest.split("train")
    quarantine = Quarantine(tmp_path / "q.jsonl", records)
    order = [(Pair(7, 0), Pair(5, 0), Pair(2, 0)), (Pair(5, 0),), (Pair(0, 0), Pair(11, 0))]
    with DecodePool(workers, _SMALL) as pool:
        batches = list(decoded_batches(order, partial(_request, manifest, records), pool, quarantine, 4))
    assert [batch and [pair.video for pair in batch.pairs] for batch in batches] == [[7, 2], None, [0, 11]]
    assert batches[0].frames.shape == (2, 4, 3, 8, 8) and batches[0].frame_mask.all()
    told = [error.path for error in quarantine.merge(quarantine.news())]
    assert told == [str(tmp_path / "videos" / "train5.mp4")] and 5 in quarantine
