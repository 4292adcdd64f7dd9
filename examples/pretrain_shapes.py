"""Make the starting weights of the built-in benchmark anew: `python examples/pretrain_shapes.py OUT`.

A tiny CLIP (1.6 million parameters) learns from stills what shapes look like, how many, how large, of which colour and
where they are. It sees no video, no motion and no order of events, and no still out of any clip of the benchmark: each
is drawn for it. tvrkit/assets/shapes holds what this command wrote with its defaults.
"""

import argparse
import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from tvrkit.core.backbone import Backbone, build_backbone
from tvrkit.losses import info_nce
from tvrkit.prepare.shapes_events import COLOURS, COUNTS, PLURALS, SHAPES, SIZES, SYNONYMS, Event, plan_clips
from tvrkit.prepare.shapes_render import SIDE, render_still

CONTEXT_LENGTH = 20
MAX_WORDS = 11  # tokens of the longest caption of a still
REACH = 13.0  # pixels: how far from the middle a still's shapes may lie, along either axis
MIDDLE = 4.0  # pixels: what counts as the middle


def main() -> None:
    """Write bpe.txt.gz, open_clip_config.json and model.safetensors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    merges = learn_merges([*(c for clip in plan_clips() for c in clip.captions), *all_still_captions()])
    write_merges(merges, options.out / "bpe.txt.gz")
    (options.out / "open_clip_config.json").write_text(json.dumps(backbone_config(len(merges)), indent=2) + "\n")

    torch.manual_seed(options.seed)
    backbone = build_backbone(str(options.out / "open_clip_config.json"), None, max_words=MAX_WORDS)
    train(backbone, options.steps, options.batch_size, options.lr, options.seed)
    weights = {name: value.half().contiguous() for name, value in backbone.clip.state_dict().items()}
    (options.out / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))


def backbone_config(merges: int) -> dict:
    """open_clip's config of the tiny model."""
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {"image_size": SIDE, "layers": 4, "width": 128, "head_width": 32, "patch_size": 16},
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": 2 * 256 + merges + 2,
                "width": 128,
                "heads": 4,
                "layers": 3,
                "tokenizer_kwargs": {"bpe_path": "bpe.txt.gz"},
            },
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic"},
    }


def train(backbone: Backbone, steps: int, batch_size: int, peak_lr: float, seed: int) -> None:
    """Symmetric InfoNCE on fresh stills; stills that mean the same are never each other's negatives."""
    matrices = [p for p in backbone.parameters() if p.ndim >= 2]
    vectors = [p for p in backbone.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.98), eps=1e-6,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_lr, max(2, steps), pct_start=0.1)
    backbone.train()
    started, correct = time.monotonic(), 0.0
    for step, (pixels, captions, meanings) in enumerate(batches(steps, batch_size, seed)):
        images = torch.nn.functional.normalize(backbone.encode_images(pixels), dim=-1)
        sentences, _ = backbone.encode_text(backbone.tokenizer(captions))
        similarity = torch.nn.functional.normalize(sentences, dim=-1) @ images.T
        loss = info_nce(similarity, backbone.logit_scale.exp(), meanings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(backbone.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            backbone.logit_scale.clamp_(max=float(np.log(100)))
            found = meanings[similarity.argmax(dim=1)] == meanings
            correct = 0.95 * correct + 0.05 * float(found.float().mean())
        if (step + 1) % 20 == 0 or step + 1 == steps:
            spent = time.monotonic() - started
            print(f"step {step + 1}/{steps}  loss {loss:.3f}  right {correct:.2f}  {spent:.0f} s", flush=True)
    backbone.eval()


def batches(steps: int, batch_size: int, seed: int) -> Iterator[tuple[Tensor, list[str], Tensor]]:
    """Fresh stills as pixels (B, 3, H, W), their captions, and (B,) int64, equal where they mean the same."""
    words, numbers = random.Random(seed), np.random.default_rng(seed)
    known: dict[tuple[Event, str], int] = {}
    for _ in range(steps):
        stills, captions, meanings = [], [], []
        for _ in range(batch_size):
            event = Event(*(words.choice(values) for values in (COUNTS, SIZES, COLOURS, SHAPES)), motion="still")
            shift = numbers.uniform(-REACH, REACH, size=2)
            stills.append(render_still(event, tuple(SIDE / 2 + shift), numbers))
            place = place_of(*shift)
            captions.append(still_caption(event, place, words))
            meanings.append(known.setdefault((event, place), len(known)))
        pixels = torch.from_numpy(np.stack(stills)).permute(0, 3, 1, 2).float() / 127.5 - 1
        yield pixels, captions, torch.tensor(meanings)


def place_of(right: float, down: float) -> str:
    """Say in words where something is, by its distance from the middle in pixels."""
    across = "left" if right < -MIDDLE else "right" if right > MIDDLE else ""
    along = "top" if down < -MIDDLE else "bottom" if down > MIDDLE else ""
    words = " ".join(filter(None, (along, across)))
    return f"at the {words}" if words else "in the middle"


def still_caption(event: Event, place: str, rng: random.Random) -> str:
    """Say what a still shows, with synonyms drawn from `rng`."""
    size, colour, shape = (rng.choice(SYNONYMS.get(w, (w,))) for w in (event.size, event.colour, event.shape))
    if event.count == "two":
        shape = PLURALS.get(shape, shape + "s")
    return f"{event.count} {size} {colour} {shape} {place}"


def all_still_captions() -> list[str]:
    """Enough of them to hold every word."""
    rng = random.Random(0)
    places = [place_of(x, y) for x in (-9, 0, 9) for y in (-9, 0, 9)]
    events = [Event(c, s, o, h, "still") for c in COUNTS for s in SIZES for o in COLOURS for h in SHAPES]
    return [still_caption(event, place, rng) for event in events for place in places]


def learn_merges(captions: list[str]) -> list[tuple[str, str]]:
    """Byte pair encoding: join the most frequent pair of neighbours within words, until each word is one token."""
    counts = Counter(word for caption in captions for word in caption.split())
    words = {word: [*word[:-1], word[-1] + "</w>"] for word in counts}
    merges: list[tuple[str, str]] = []
    while any(len(pieces) > 1 for pieces in words.values()):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, pieces in words.items():
            for pair in zip(pieces, pieces[1:], strict=False):
                pairs[pair] += counts[word]
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for word, pieces in words.items():
            words[word] = _joined(pieces, best)
    return merges


def _joined(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    for piece in pieces:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def write_merges(merges: list[tuple[str, str]], path: Path) -> None:
    """Write merges as open_clip's SimpleTokenizer reads them: it skips the first line and takes each other one."""
    text = "\n".join(["# merges of the shapes benchmark", *(" ".join(pair) for pair in merges)])
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
