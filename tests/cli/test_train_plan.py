from __future__ import annotations

import pytest
from support import run_tvrkit
from tiny import make_data


def test_a_plan_takes_nothing_and_leaves_nothing(tmp_path):
    done = run_tvrkit("train", "--preset", "tiny", "--dry-run", "--set", "train.epochs=3", "--gpus", "0", cwd=tmp_path)
    assert done.code == 0, done.stderr
    words = " ".join(done.stdout.split())
    # 500 steps of tiny; 4,800 clips in batches of 48.
    assert "4,800 videos with 19,200 captions" in words and "the counts are those of shapes" in words
    assert "500: 5 epochs of 100 batches of up to 48" in words
    assert "frozen" in words and "once" in words and "peak rate" in words
    assert "ms a step" in words or " s a step" in words
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert not list(tmp_path.iterdir())


def test_a_prepared_set_is_counted_and_wrong_use_is_one_sentence(tmp_path):
    make_data(tmp_path / "data" / "squares", train=6, val=2, test=0)
    common = ("train", "--dry-run", "--preset", "tiny", "--data", "squares", "--set", "train.max_steps=null")
    done = run_tvrkit(*common, "--gpus", "4", cwd=tmp_path)
    assert done.code == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "squares: 6 videos with 12 captions, one a video and epoch; 2 to choose" in words
    assert "5: 5 epochs of 1 batches" in words and "4 processes on GPUs, 3 pairs of each batch on one" in words
    for arguments, sentence in (
        (("train", "--dry-run", "--resume"), "--resume has no part in it"),
        (("train", "--dry-run", "--preset", "tinny"), "did you mean tiny?"),
        (("train", "--dry-run", "--preset", "folder", "--data", "gone"), "no prepared data set 'gone'"),
    ):
        wrong = run_tvrkit(*arguments, cwd=tmp_path)
        assert wrong.code in (1, 2) and not wrong.stdout
        assert sentence in " ".join(wrong.stderr.split()) and "Traceback" not in wrong.stderr


@pytest.mark.slow
def test_the_papers_preset_is_planned_without_data_weights_and_network(tmp_path):
    done = run_tvrkit("train", "--preset", "msrvtt-b32", "--dry-run", "--gpus", "4", cwd=tmp_path, timeout=600)
    assert done.code == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "7,035: 5 epochs of 1,407 batches of up to 128" in words
    assert "image tower 87.8 M 87.8 M 1e-07" in words and "temporal encoder 12.6 M 12.6 M 0.0001" in words
    assert "32 pairs of each batch on one" in words and "with train.micro_batch 16:" in words
