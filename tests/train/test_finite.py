from __future__ import annotations

import json
from math import inf, nan

import pytest
import torch

from tvrkit.data import Pair
from tvrkit.errors import TrainingError
from tvrkit.manifest import Record
from tvrkit.train.finite import check_finite, check_weights
from tvrkit.train.state import CHECKPOINTS, LAST, NUMBERS

RECORDS = [Record(f"v{i}", f"videos/v{i}.mp4", (f"caption {i}", f"the second\n one of {i}")) for i in range(5)]
PAIRS = [Pair(video, video % 2) for video in range(5)]


def write_checkpoint(run, step):
    folder = run / CHECKPOINTS / LAST
    folder.mkdir(parents=True)
    (folder / NUMBERS).write_text(json.dumps({"step": step}))


def check(run, values, **more):
    check_finite(values, step=6, run=run, pairs=PAIRS, records=RECORDS, **more)


def test_numbers_pass_and_leave_nothing(tmp_path):
    check(tmp_path, {"the loss": torch.tensor(1.5), "the gradient": torch.tensor(3e38)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_the_sentence_names_step_videos_captions_and_what_is_kept(tmp_path, value):
    write_checkpoint(tmp_path, 4)
    with pytest.raises(TrainingError) as caught:
        check(tmp_path, {"the loss": torch.tensor(value)})
    text = str(caught.value)
    assert text.startswith(
        f'the loss is {value} at step 7, with the videos v0 ("caption 0"), v1 ("the second one of 1"),'
    )
    assert f'v2 ("caption 2") and 2 more (the whole batch is in {tmp_path / "nonfinite.json"}); ' in text
    assert "; the checkpoint of step 4 is kept: " in text and text.endswith(".") and "\n" not in text


def test_the_first_that_is_no_number_is_named(tmp_path):
    values = {"the loss": torch.tensor(2.0), "the gradient": torch.tensor(inf)}
    with pytest.raises(TrainingError, match="^the gradient is inf at step 7.*no checkpoint had been written"):
        check(tmp_path, values)
    report = json.loads((tmp_path / "nonfinite.json").read_text())
    assert report["values"] == {"the loss": 2.0, "the gradient": "inf"}


def test_the_report_holds_every_pair_part_gradient_and_weight(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    loss = model(torch.tensor([[1.0, inf]])).sum()
    loss.backward()
    with torch.no_grad():
        model[1].bias.fill_(nan)
    parts = {"neg_nce": torch.tensor(0.25), "partial_words": loss}
    with pytest.raises(TrainingError):
        check(tmp_path, {"the loss": loss}, parts=parts, parameters=model.named_parameters())
    report = json.loads((tmp_path / "nonfinite.json").read_text())
    assert report["step"] == 7 and [row["video_id"] for row in report["pairs"]] == ["v0", "v1", "v2", "v3", "v4"]
    assert report["pairs"][1] == {"video_id": "v1", "path": "videos/v1.mp4", "caption": "the second\n one of 1"}
    assert report["parts"]["neg_nce"] == 0.25 and report["parts"]["partial_words"] in ("inf", "-inf", "nan")
    assert "0.weight" in report["gradients_not_finite"] and "1.bias" not in report["gradients_not_finite"]
    assert report["weights_not_finite"] == ["1.bias"]


def test_a_process_that_does_not_write_says_the_same(tmp_path):
    with pytest.raises(TrainingError) as silent:
        check(tmp_path, {"the loss": torch.tensor(nan)}, writes=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(TrainingError) as writing:
        check(tmp_path, {"the loss": torch.tensor(nan)})
    assert str(silent.value) == str(writing.value) and (tmp_path / "nonfinite.json").exists()


def test_a_report_that_cannot_be_written_does_not_hide_the_error(tmp_path):
    (tmp_path / "run").write_text("a file where a folder should be")
    with pytest.raises(TrainingError, match="the loss is nan at step 7"):
        check(tmp_path / "run", {"the loss": torch.tensor(nan)})


def test_weights_that_are_no_numbers_are_not_to_be_saved(tmp_path):
    write_checkpoint(tmp_path, 3)
    model = torch.nn.Linear(3, 2)
    check_weights(model.named_parameters(), step=9, run=tmp_path)
    with torch.no_grad():
        model.weight[1, 1] = inf
    with pytest.raises(TrainingError, match=r"after step 9 \(weight\).*the checkpoint of step 3 is kept"):
        check_weights(model.named_parameters(), step=9, run=tmp_path)
