"""A loss of your own: python examples/extending/loss.py MODEL MANIFEST OUT.

A loss takes the similarity (B, B) of matched pairs. This one trains with its own short loop, the frames encoded once;
to have it in `tvrkit train`, add it to tvrkit/losses.py and give it a word in LossConfig and in train/objective.py.
"""

import random
import sys

import torch
from torch import Tensor

import tvrkit
from tvrkit.core import save_model
from tvrkit.encode import encode_frames
from tvrkit.frames.reader import FrameRequest
from tvrkit.manifest import read_manifest

STEPS, BATCH = 20, 8


def sigmoid_loss(similarity: Tensor, scale: float = 10.0, bias: float = -5.0) -> Tensor:
    """Each pair by itself, right or wrong, without a softmax over the batch (SigLIP, arXiv 2303.15343, equation 1)."""
    right = 2 * torch.eye(len(similarity), device=similarity.device) - 1
    return -torch.nn.functional.logsigmoid(right * (scale * similarity + bias)).sum() / len(similarity)


def main(source: str, manifest_path: str, out: str) -> None:
    """Train the parts beside the image tower, and write the model."""
    model = tvrkit.load(source)
    manifest = read_manifest(manifest_path)
    records = manifest.split("train")
    requests = [FrameRequest(str(manifest.file_of(r)), num_frames=model.config.num_frames) for r in records]
    frames = encode_frames(model, requests)
    captions = [records[row].captions[0] for row in frames.rows]
    learning = [p for name, p in model.named_parameters() if not name.startswith("backbone.clip.visual.")]
    optimizer = torch.optim.AdamW(learning, lr=1e-4)
    draw = random.Random(0)
    for step in range(STEPS):
        rows = draw.sample(range(len(captions)), min(BATCH, len(captions)))
        text = model.encode_text(model.tokenize([captions[row] for row in rows]))
        video = model.encode_video(frames.frame_features[rows], frames.frame_mask[rows])
        loss = sigmoid_loss(model.similarity(text, video))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step + 1}: loss {loss.item():.4f}")
    save_model(model, out)


if __name__ == "__main__":
    main(*sys.argv[1:4])
