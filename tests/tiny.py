"""A small world for tests of training and evaluation: real MP4s, captions, and a CLIP that fits in a second."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np

import tvrkit
from tvrkit.config import Config, config_from_dict
from tvrkit.frames.reading import Reading
from tvrkit.manifest import Manifest, Record, write_manifest

HERE = Reading(workers=0)

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "white": (235, 235, 235)}
PLACES = {"left": (4, 12), "right": (20, 12), "top": (12, 4), "bottom": (12, 20)}

CLIP = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16, "mlp_ratio": 2},
        "text_cfg": {"context_length": 16, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


def write_clip(folder: Path) -> Path:
    """The config JSON of the small CLIP, with the byte pairs of the built-in one beside it."""
    path = folder / "tiny_clip.json"
    shapes = Path(tvrkit.__file__).parent / "assets" / "shapes"
    shutil.copy(shapes / "bpe.txt.gz", folder)
    built_in = json.loads((shapes / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    config = json.loads(json.dumps(CLIP))
    for key in ("vocab_size", "tokenizer_kwargs"):
        config["model_cfg"]["text_cfg"][key] = built_in[key]
    path.write_text(json.dumps(config))
    return path


def write_video(path: Path, colour: str, place: str, *, frames: int = 8, seed: int = 0) -> None:
    """A square of a colour at a place, drifting a little, 32 x 32 pixels, 8 frames a second, H.264."""
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        x, y = PLACES[place]
        for _ in range(frames):
            image = random.integers(0, 40, (32, 32, 3), dtype=np.uint8)
            x, y = np.clip([x + random.integers(-1, 2), y + random.integers(-1, 2)], 0, 22)
            image[y : y + 10, x : x + 10] = COLOURS[colour]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def make_data(
    folder: Path, *, train: int = 12, val: int = 4, test: int = 4, hard: bool = False, captions: int = 2
) -> Path:
    """Render a data set `squares` into `folder` and write its manifest, whose path is returned."""
    words = [(colour, place) for place in PLACES for colour in COLOURS]
    records = []
    for split, number in (("train", train), ("val", val), ("test", test)):
        for i in range(number):
            colour, place = words[i % len(words)]
            name = f"{split}{i}"
            write_video(folder / "videos" / f"{name}.mp4", colour, place, seed=len(records), frames=6 + i % 3)
            texts = [f"a {colour} square on the {place}", f"{colour} square {place}", f"{place} there is {colour}"]
            texts = texts[:captions] if split == "train" else [f"a {colour} square on the {place} number {i}"]
            records.append(
                Record(
                    video_id=name,
                    path=f"videos/{name}.mp4",
                    split=split,
                    captions=tuple(texts),
                    tags={"family": f"{split}-{place}"},
                )
            )
    if hard:
        records += _hard(folder)
    manifest = Manifest("squares", tuple(records), preset="folder", root=folder)
    write_manifest(manifest, folder / "manifest.jsonl")
    return folder / "manifest.jsonl"


def _hard(folder: Path) -> list[Record]:
    records = []
    edits = (("base", "red", "left"), ("colour", "blue", "left"), ("place", "red", "right"))
    for family in range(2):
        for edit, colour, place in edits:
            name = f"hard{family}{edit}"
            write_video(folder / "videos" / f"{name}.mp4", colour, place, seed=100 + len(records))
            caption = f"a {colour} square on the {place}, take {family}"
            tags = {"family": str(family), "edit": edit}
            records.append(Record(name, f"videos/{name}.mp4", (caption,), split="hard", tags=tags))
    return records


def tiny_config(clip: Path, manifest: Path, **sections: dict) -> Config:
    """A config that trains the small CLIP on the small data, all of the paper's parts on; `sections` change it."""
    tree: dict[str, dict] = {
        "model": {
            "backbone": str(clip),
            "pretrained": None,
            "num_frames": 4,
            "max_words": 16,
            "temporal": "transformer",
            "temporal_layers": 1,
            "interaction": "weighted_token_wise",
            "text_side": "both",
            "key_words": True,
            "nearest_frame": True,
        },
        "loss": {"name": "neg_nce", "logit_scale": "learned", "partial_weight": 0.5},
        "data": {"dataset": str(manifest), "workers": 0},
        "train": {
            "epochs": 2,
            "batch_size": 6,
            "lr": 1e-3,
            "clip_lr": 1e-3,
            "log_every": 1,
            "save_every_steps": 3,
            "select_by": "t2v/MnR",
        },
    }
    for section, changes in sections.items():
        tree[section] |= changes
    return config_from_dict(tree)
