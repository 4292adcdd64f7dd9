"""`tvrkit convert` as a user has it: a published file in, a model out that eval and train take."""

from __future__ import annotations

import json
import os

import pytest
import torch
from click.testing import CliRunner
from published import clip_tensors, temporal_tensors, weigher_tensors

from tvrkit.cli.convert import command


@pytest.fixture
def state():
    torch.manual_seed(0)
    state = {f"clip.{name}": tensor for name, tensor in clip_tensors().items()} | temporal_tensors(layers=2, rows=77)
    return state | {"global_mat_weight": torch.eye(8)}


def test_it_says_what_matched_and_what_did_not(state, tmp_path):
    state |= weigher_tensors("text", 1) | weigher_tensors("video", 1)
    torch.save(state, tmp_path / "drl.bin")
    done = CliRunner().invoke(
        command, [str(tmp_path / "drl.bin"), "--out", str(tmp_path / "drl"), "--json"], catch_exceptions=False
    )
    facts = json.loads(done.stdout)
    assert facts["unused"] == ["global_mat_weight"] and facts["cut"] == ["temporal.positional_embedding"]
    assert facts["model"]["interaction"] == "weighted_token_wise" and facts["model"]["num_frames"] == 12
    assert len(facts["remarks"]) == 2 and "backbone.clip.visual.proj" in facts["matched"]
    assert (tmp_path / "drl" / "model.safetensors").is_file()


class _Harm:
    def __reduce__(self):
        return os.system, ("touch harm",)


@pytest.mark.slow
def test_converted_weights_are_evaluated_and_trained_further(run_cli, world, state):
    torch.save(state, world / "pytorch_model.bin.4")
    done = run_cli("convert", "pytorch_model.bin.4", "--out", "clip4clip", "--frames", 4, cwd=world)
    assert done.code == 0, done.stderr
    assert done.stdout == "clip4clip\n"
    said = " ".join(done.stderr.split())
    assert "with QuickGELU; temporal: transformer of 2 layers; interaction: dot_product." in said
    assert "all that the model has" in said and "Cut to 4 frames: temporal.positional_embedding." in said
    assert "Not matched: 1 tensors that the model has no place for: global_mat_weight" in said
    assert "Warning: These weights are of a model with X-CLIP's learned sums of similarities" in said

    scored = run_cli("eval", "--model", "clip4clip", "--data", "squares", "--json", cwd=world)
    assert scored.code == 0, scored.stderr
    assert "R@1" in scored.stdout

    settings = {
        "model.backbone": "clip4clip/backbone/open_clip_config.json",
        "model.pretrained": "null",
        "model.num_frames": 4,
        "model.temporal": "transformer",
        "model.temporal_layers": 2,
        "train.init_from": "clip4clip",
        "train.freeze": "none",
        "train.max_steps": 1,
        "train.batch_size": 4,
        "train.rates": "{temporal.*: 1e-3}",
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    trained = run_cli("train", "--preset", "tiny", "--data", "squares", "--gpus", 0, "--out", "run", *words, cwd=world)
    assert trained.code == 0, trained.stderr
    assert "Warm start from clip4clip: " in " ".join(trained.stderr.split())

    torch.save({"clip.visual.proj": _Harm()}, world / "bad.bin")
    done = run_cli("convert", "bad.bin", "--out", "model", cwd=world)
    assert done.code == 1
    assert " ".join(done.stderr.split()) == (
        "Error: bad.bin holds more than tensors, and loading that could run code hidden in it: save its state dict"
        " alone, best as .safetensors."
    )
    assert not (world / "harm").exists() and not (world / "model").exists()
