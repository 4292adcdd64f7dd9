"""An interaction of your own: python examples/extending/interaction.py MODEL MANIFEST.

An interaction is a module that takes text and video features and gives their similarity (T, V). Encoding, training,
evaluation and search ask the model for it, so it is enough to put another in its place. To keep it in saved models
and give it a word in `model.interaction`, add it to tvrkit/core/interaction.py and to ModelConfig.
"""

import sys

import torch
from torch import Tensor, nn

import tvrkit
from tvrkit.core import RetrievalModel, TextFeatures, VideoFeatures
from tvrkit.evaluate import evaluate
from tvrkit.manifest import read_manifest


class SoftestFrame(nn.Module):
    """The sentence against its frames, the nearer ones counting more: a softmax in place of a mean or a maximum."""

    def __init__(self, sharpness: float = 10.0) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(sharpness))

    def forward(self, text: TextFeatures, video: VideoFeatures, nearest: object = None) -> Tensor:
        """(T, V): text_features (T, D) and frame_features (V, F, D) are L2-normalised; pads must not count."""
        sentence = text.text_features.to(video.frame_features)  # evaluation scores in float64
        cosines = torch.einsum("td,vfd->tvf", sentence, video.frame_features)
        pads = ~video.frame_mask[None]
        weights = (self.sharpness * cosines).masked_fill(pads, -torch.inf).softmax(dim=2)
        return (weights * cosines.masked_fill(pads, 0.0)).sum(dim=2)


def recall(model: RetrievalModel, manifest: str) -> float:
    """R@1 of captions looking for their video, on the validation split."""
    evaluation = evaluate(model, read_manifest(manifest), split="val")
    return float(evaluation.t2v.recall_at[1])


if __name__ == "__main__":
    found = tvrkit.load(sys.argv[1])
    before = recall(found, sys.argv[2])
    found.interaction = SoftestFrame()
    print(f"R@1 on val: {before:.1f}, with SoftestFrame {recall(found, sys.argv[2]):.1f}")
