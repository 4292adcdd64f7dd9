from __future__ import annotations

import gzip
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from backbones import KINDS, write_backbone
from safetensors.torch import load_file, save_file

import tvrkit
from tvrkit.config import ModelConfig
from tvrkit.core import RetrievalModel, build_model, load_model, save_model
from tvrkit.errors import CheckpointError, ModelError, TvrkitError, WeightsUnavailableError

CAPTIONS = ["a dog runs over the grass", "two cats", "a red car"]


def model_of(tmp_path: Path, kind: str = "clip", seed: int = 0, **changes) -> RetrievalModel:
    path = write_backbone(tmp_path / "source" / kind, kind, preprocess={"mean": [0.4, 0.5, 0.6]})
    base = ModelConfig(backbone=str(path), pretrained=None, num_frames=4, max_words=12)
    torch.manual_seed(seed)
    return build_model(replace(base, **changes))


@torch.no_grad()
def scores(model: RetrievalModel) -> torch.Tensor:
    pixels = torch.randn(3, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    video = model.encode_video(model.encode_frames(pixels, mask), mask)
    return model.similarity(model.encode_text(model.tokenize(CAPTIONS)), video)


DMAE = {
    "temporal": "transformer",
    "interaction": "weighted_token_wise",
    "key_words": True,
    "nearest_frame": True,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, kind: str) -> None:
    model = model_of(tmp_path, kind, **DMAE)
    save_model(model, tmp_path / "out", {"t2v": {"R@1": 12.5}})
    # It is complete in itself: the config that it was built from may go.
    shutil.rmtree(tmp_path / "source")
    loaded = load_model(tmp_path / "out")
    assert loaded.config == model.config and not loaded.training
    assert torch.equal(scores(loaded), scores(model))
    assert loaded.fingerprint() == model.fingerprint()
    assert loaded.vision_fingerprint() == model.vision_fingerprint()
    assert loaded.backbone.preprocess_cfg["mean"] == [0.4, 0.5, 0.6]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == {"t2v": {"R@1": 12.5}}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "backbone",
        "config.yaml",
        "metrics.json",
        "model.safetensors",
    ]


def test_tvrkit_load_is_load_model(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    save_model(model, tmp_path / "out")
    assert torch.equal(scores(tvrkit.load(str(tmp_path / "out"))), scores(model))


def test_a_saved_copy_of_a_loaded_model_is_the_same(tmp_path: Path) -> None:
    model = model_of(tmp_path, **DMAE)
    save_model(model, tmp_path / "first")
    save_model(load_model(tmp_path / "first"), tmp_path / "second")
    for name in ("model.safetensors", "config.yaml", "backbone/open_clip_config.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_folder_of_ones_own_vocabulary_takes_it_along(tmp_path: Path) -> None:
    path = write_backbone(tmp_path / "source")
    tree = json.loads(path.read_text())
    tree["model_cfg"]["text_cfg"] |= {"vocab_size": 600, "tokenizer_kwargs": {"bpe_path": "parts/bpe.txt.gz"}}
    path.write_text(json.dumps(tree))
    (path.parent / "parts").mkdir()
    (path.parent / "parts" / "bpe.txt.gz").write_bytes(gzip.compress(b"#version\nd o\ndo g</w>"))
    model = build_model(ModelConfig(backbone=str(path), pretrained=None))
    save_model(model, tmp_path / "out")
    shutil.rmtree(path.parent)
    loaded = load_model(tmp_path / "out")
    assert torch.equal(loaded.tokenize(["a dog"]).ids, model.tokenize(["a dog"]).ids)
    save_model(loaded, tmp_path / "again")
    assert torch.equal(load_model(tmp_path / "again").tokenize(["a dog"]).ids, model.tokenize(["a dog"]).ids)


def test_half_precision_halves_the_file_and_keeps_the_scores_close(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    with torch.no_grad():
        model.backbone.clip.visual.proj[0, 0] = 1e6  # more than float16 holds
    save_model(model, tmp_path / "full")
    save_model(model, tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.52 * sizes[0]
    loaded = load_model(tmp_path / "half")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert loaded.backbone.clip.visual.proj[0, 0] == 1e6
    assert torch.equal(loaded.backbone.logit_scale, model.backbone.logit_scale)
    torch.testing.assert_close(scores(loaded), scores(model), atol=2e-3, rtol=0)


def test_saving_replaces_the_old_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    save_model(model_of(tmp_path, seed=0), out, {"a": 1})
    (out / "stray").write_text("of the old one")
    second = model_of(tmp_path, seed=1)
    save_model(second, out)
    assert torch.equal(scores(load_model(out)), scores(second))
    assert not (out / "stray").exists() and not (out / "metrics.json").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]


def test_a_failed_save_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = model_of(tmp_path)
    save_model(first, out)
    with pytest.raises(ValueError, match="Out of range float"):
        save_model(model_of(tmp_path, seed=1), out, {"loss": float("nan")})
    assert torch.equal(scores(load_model(out)), scores(first))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]


def test_a_crash_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = model_of(tmp_path)
    save_model(first, out)
    out.rename(tmp_path / ".out.old")  # where a folder steps aside
    (tmp_path / ".out.abc.tmp").mkdir()
    assert torch.equal(scores(load_model(out)), scores(first))
    second = model_of(tmp_path, seed=1)
    save_model(second, out)
    assert torch.equal(scores(load_model(out)), scores(second))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]


@pytest.mark.slow
def test_killed_at_any_moment_one_whole_model_is_there(tmp_path: Path) -> None:
    import signal
    import subprocess
    import sys
    import time

    from support import REPO

    out = tmp_path / "out"
    models = [model_of(tmp_path, seed=seed) for seed in (0, 1)]
    both = [scores(model) for model in models]
    save_model(models[0], out)
    for i, model in enumerate(models):
        save_model(model, tmp_path / f"m{i}")
    code = (
        "from tvrkit.core import load_model, save_model\n"
        f"models = [load_model({str(tmp_path)!r} + f'/m{{i}}') for i in (0, 1)]\n"
        "print('go', flush=True)\n"
        f"while True:\n  for model in models: save_model(model, {str(out)!r})\n"
    )
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(REPO)}
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 + 0.083 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = scores(load_model(out))
        assert any(torch.equal(found, one) for one in both)


def run_folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    return run


def test_a_run_is_its_best_checkpoint(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    best, last = model_of(tmp_path, seed=0), model_of(tmp_path, seed=1)
    save_model(best, run / "checkpoints" / "best")
    save_model(last, run / "checkpoints" / "last")
    assert torch.equal(scores(load_model(run)), scores(best))
    assert torch.equal(scores(load_model(run / "checkpoints" / "last")), scores(last))


def test_a_linked_checkpoint(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    best = model_of(tmp_path)
    save_model(best, run / "checkpoints" / "step-1")
    (run / "checkpoints" / "best").symlink_to("step-1", target_is_directory=True)
    assert torch.equal(scores(load_model(run)), scores(best))


def test_a_run_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no checkpoint yet: .*--resume"):
        load_model(run_folder(tmp_path))


def damage(folder: Path, how: str) -> None:
    weights, config = folder / "model.safetensors", folder / "config.yaml"
    backbone = folder / "backbone" / "open_clip_config.json"
    tensors = load_file(weights)
    tree = yaml.safe_load(config.read_text())
    if how == "no weights":
        weights.unlink()
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif how == "a tensor less":
        del tensors["backbone.clip.ln_final.bias"]
        save_file(tensors, weights)
    elif how == "other layers":
        config.write_text(yaml.safe_dump({**tree, "model": {**tree["model"], "temporal": "transformer"}}))
    elif how == "no yaml":
        config.write_text("a: [")
    elif how == "no section":
        config.write_text("tvrkit: 1")
    elif how == "newer":
        config.write_text(yaml.safe_dump({"tvrkit": "9.0", "model": {**tree["model"], "frobnicate": 1}}))
    elif how == "no backbone":
        backbone.unlink()
    elif how == "other tower":
        changed = json.loads(backbone.read_text())
        changed["model_cfg"]["text_cfg"]["layers"] = 3
        backbone.write_text(json.dumps(changed))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no weights", "holds no model: config.yaml and model.safetensors were expected"),
        ("truncated", "cannot be read as safetensors"),
        ("a tensor less", r"do not fit this model: missing backbone\.clip\.ln_final\.bias\."),
        ("other layers", r"do not fit this model: missing temporal\."),
        ("no yaml", "cannot read .*config.yaml"),
        ("no section", "has no section `model`"),
        ("newer", "was written by tvrkit 9.0 and this is .*: there is no setting model.frobnicate"),
        ("no backbone", "cannot read the backbone config .*No such file"),
        ("other tower", r"do not fit this model: missing backbone\.clip\.transformer\.resblocks\.2"),
    ],
)
def test_damaged_folders_are_one_sentence(tmp_path: Path, how: str, message: str) -> None:
    save_model(model_of(tmp_path), tmp_path / "out")
    damage(tmp_path / "out", how)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "out") in str(caught.value)


def test_code_in_a_config_does_not_run(tmp_path: Path) -> None:
    save_model(model_of(tmp_path), tmp_path / "out")
    (tmp_path / "out" / "config.yaml").write_text(f"!!python/object/apply:os.mkdir ['{tmp_path}/owned']")
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "out")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-33/openai", "neither a folder with a model nor an open_clip name/tag; the nearest are ViT-B-32"),
        ("ViT-B-32/opnai", "neither a file nor a tag of ViT-B-32; the nearest are openai"),
        ("convnext_base_w", r"convnext_base_w names no weights: choose its weights, as in convnext_base_w/laion2b"),
        ("ViT-S-32", r"ViT-S-32 names no weights: there are none for it"),
        ("nowhere", "'nowhere' is neither a folder with a model nor an open_clip name/tag"),
        ("./nowhere/at/all", r"neither a folder with a model nor an open_clip name/tag\."),
        ("/nowhere/at/all", r"neither a folder with a model nor an open_clip name/tag\."),
    ],
)
def test_unknown_sources(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no model"):
        load_model(tmp_path)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(TvrkitError):
        load_model(path)


def test_weights_that_cannot_be_had() -> None:
    with pytest.raises(WeightsUnavailableError):
        load_model("ViT-B-32/openai")
