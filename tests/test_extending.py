"""examples/extending/*: each runs as docs/extending.md tells, and is short."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from support import REPO, clean_environment
from tiny import make_data, tiny_config, write_clip

from tvrkit.core import build_model, load_model, save_model
from tvrkit.manifest import read_manifest

FOLDER = REPO / "examples/extending"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    manifest = make_data(folder / "squares", train=8, val=4, test=0)
    model = build_model(tiny_config(write_clip(folder), manifest).model)
    save_model(model, folder / "model")
    return folder, manifest


def run(name, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, FOLDER / name, *map(str, arguments)],
        cwd=cwd, env=clean_environment(cwd), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_is_short_and_in_the_page():
    page = (REPO / "docs/extending.md").read_text(encoding="utf-8")
    for path in FOLDER.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 60, path.name
        assert f"../examples/extending/{path.name}" in page


def test_data_set(made, tmp_path):
    records = read_manifest(made[1]).records
    videos = made[1].parent / records[0].path
    lines = [f"{r.split} | {made[1].parent.joinpath(r.path).name} | {r.captions[0]}" for r in records]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    assert "12 videos" in run("data_set.py", videos.parent, "lines.txt", "out/manifest.jsonl", cwd=tmp_path)
    manifest = read_manifest(tmp_path / "out/manifest.jsonl")
    assert [(r.split, r.captions[:1]) for r in manifest.records] == [(r.split, r.captions[:1]) for r in records]
    assert all(manifest.file_of(record).is_file() for record in manifest.records)


def test_backbone(tmp_path):
    printed = run("backbone.py", "small", cwd=tmp_path)
    assert "--set model.backbone=small --set model.pretrained=model.safetensors" in printed


def test_interaction(made, tmp_path):
    printed = run("interaction.py", made[0] / "model", made[1], cwd=tmp_path)
    assert re.fullmatch(r"R@1 on val: [\d.]+, with SoftestFrame [\d.]+\n", printed)


def test_loss(made, tmp_path):
    printed = run("loss.py", made[0] / "model", made[1], "trained", cwd=tmp_path)
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", printed)]
    assert len(losses) == 20 and losses[-1] < losses[0]
    assert load_model(tmp_path / "trained").config == load_model(made[0] / "model").config
