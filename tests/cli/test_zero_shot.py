"""From nothing to a number without training: clips prepared, a published backbone measured, files and hub alike."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from support import run_tvrkit
from tiny import COLOURS, PLACES, write_clip, write_video
from torch.nn.functional import normalize

from tvrkit.cli.eval import command
from tvrkit.cli.export import command as export
from tvrkit.core.architecture import build_clip
from tvrkit.core.spec import find_spec
from tvrkit.errors import ConfigError, ModelError


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with eight clips prepared as `mine`, and a small backbone in `towers` as open_clip publishes it."""
    folder = tmp_path_factory.mktemp("zero_shot")
    rows = []
    for i, (colour, place) in enumerate((c, p) for c in ("red", "blue") for p in PLACES):
        assert colour in COLOURS
        write_video(folder / "clips" / f"clip{i}.mp4", colour, place, seed=i)
        rows.append((f"clip{i}.mp4", f"a {colour} square at the {place}"))
    with (folder / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "caption"), *rows])
    prepared = run_tvrkit("prepare", "folder", "clips", "--captions", "captions.csv", "--name", "mine", cwd=folder)
    assert prepared.code == 0, prepared.stderr
    towers = folder / "towers"
    towers.mkdir()
    config = write_clip(towers).rename(towers / "open_clip_config.json")
    torch.manual_seed(0)
    save_file(build_clip(find_spec(str(config))).state_dict(), towers / "open_clip_model.safetensors")
    return folder


OPTIONS = ("--data", "mine", "--device", "cpu", "--workers", "0", "--json")


def measure(folder: Path, model: str, **env: str) -> dict:
    """In a fresh process."""
    result = run_tvrkit("eval", "--model", model, *OPTIONS, cwd=folder, env=env)
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def here(world, monkeypatch):
    """`here(model, option, …)`: the numbers, measured in this process and in that folder."""
    monkeypatch.chdir(world)
    monkeypatch.setenv("TVRKIT_DATA", str(world / "data"))

    def run(model: str, *options: str) -> dict:
        result = CliRunner().invoke(command, ["--model", model, *OPTIONS, *options], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


def test_a_backbone_in_a_folder_is_measured_without_training(world, here):
    numbers = here("towers", "--save-similarity", "scores.npy")
    assert (numbers["split"], numbers["t2v"]["queries"], numbers["t2v"]["gallery"]) == ("test", 8, 8)
    assert "zero_shot" not in json.dumps(numbers)  # it is its own baseline
    # Against open_clip itself, on the frames that tvrkit reads: cosine of the sentence and the mean of 12 frames.
    scores = np.load(world / "scores.npy")
    expected = by_open_clip(world, json.loads((world / "scores.json").read_text()))
    torch.testing.assert_close(torch.from_numpy(scores), expected, atol=2e-5, rtol=1e-4)
    own = scores.diagonal()
    found = 100 * np.mean([(row > score).sum() == 0 for row, score in zip(scores, own, strict=True)])
    assert numbers["t2v"]["R@1"] == pytest.approx(found)


@torch.no_grad()
def by_open_clip(world: Path, names: dict) -> torch.Tensor:
    from tvrkit.frames.reader import read_frames
    from tvrkit.frames.request import FrameRequest

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{world / 'towers'}")
    tokenizer = open_clip.tokenizer.SimpleTokenizer(str(world / "towers" / "bpe.txt.gz"), context_length=16)
    videos = []
    for name in names["columns"]:
        frames = read_frames(FrameRequest(path=str(world / "clips" / f"{name}.mp4"), num_frames=12))
        pixels = torch.stack([preprocess(Image.fromarray(image)) for image in frames.data])
        videos.append(normalize(normalize(model.eval().encode_image(pixels), dim=-1).mean(dim=0), dim=-1))
    captions = [row["caption"] for row in names["rows"]]
    return model.encode_text(tokenizer(captions), normalize=True) @ torch.stack(videos).T


def test_a_weights_file_gives_the_same_numbers(world, here):
    shutil.copy(world / "towers" / "open_clip_model.safetensors", world / "elsewhere.safetensors")
    whole, file = here("towers"), here("towers/open_clip_config.json=elsewhere.safetensors")
    assert {**whole, "model": None} == {**file, "model": None}


def test_a_file_of_unknown_make_is_one_sentence(here):
    with pytest.raises(ModelError, match=r"^which backbone is towers/.*safetensors\? Say so, as in ViT-B-16="):
        here("towers/open_clip_model.safetensors")


def test_a_backbone_can_be_taken_along_as_one_folder(here, tmp_path):
    source = "towers/open_clip_config.json=towers/open_clip_model.safetensors"
    for options, folder in ((("--out", str(tmp_path / "taken")), tmp_path / "taken"), ((), Path("exports/towers"))):
        model = source if options else "towers"
        done = CliRunner().invoke(export, ["--model", model, *options], catch_exceptions=False)
        assert done.exit_code == 0 and done.stdout.strip() == str(folder)
        assert "Not evaluated yet" not in done.stderr
        assert "was not trained by tvrkit" in (folder / "README.md").read_text()
        taken = here(str(folder), "--no-zero-shot")
        assert (taken["t2v"], taken["v2t"]) == (here("towers")["t2v"], here("towers")["v2t"])
    with pytest.raises(ConfigError, match="give a RUN or --model, not both"):
        CliRunner().invoke(export, ["a-run", "--model", "towers"], catch_exceptions=False)
    with pytest.raises(ModelError, match="the nearest are ViT-B-32"):
        CliRunner().invoke(export, ["--model", "ViT-B-33/openai"], catch_exceptions=False)


REPOSITORY = "timm/PE-Core-T-16-384"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download of weights asks for."""

    files: dict[str, Path] = {}
    asked: list[str] = []

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        file = self.files.get(self.path)
        content = file.read_bytes() if file else b""
        self.send_response(200 if file else 404)
        if file:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        else:
            known = self.path.startswith(f"/{REPOSITORY}/")
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_a_name_and_tag_downloads_once_and_measures(world, tmp_path):
    """A real architecture of open_clip, with weights of the right shapes, from a hub on this machine."""
    torch.manual_seed(0)
    weights = build_clip(find_spec("PE-Core-T-16-384", "meta")).half().state_dict()
    save_file(weights, tmp_path / "weights.safetensors")
    Hub.files = {f"/{REPOSITORY}/resolve/main/open_clip_model.safetensors": tmp_path / "weights.safetensors"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    try:
        first = measure(world, "PE-Core-T-16-384/meta", **hub)
    finally:
        server.shutdown()
        server.server_close()
    assert first["t2v"]["queries"] == 8 and any(line.startswith("GET") for line in Hub.asked)
    # The hub is gone; the cache has it.
    assert measure(world, "PE-Core-T-16-384/meta") == first
    listed = json.loads(run_tvrkit("models", "--cached", "--json", cwd=world).stdout)["models"]
    assert [model["name"] for model in listed] == ["shapes/shapes", "PE-Core-T-16-384/meta"]
    same = measure(world, f"PE-Core-T-16-384={tmp_path / 'weights.safetensors'}")
    assert {**same, "model": None} == {**first, "model": None}
