"""The retrieval model: backbone, temporal encoder and interaction behind five methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tvrkit.config import ModelConfig
from tvrkit.core import towers
from tvrkit.core.backbone import Backbone, build_backbone
from tvrkit.core.features import TextFeatures, Tokens, VideoFeatures
from tvrkit.core.fingerprint import Fingerprint
from tvrkit.core.interaction import Interaction
from tvrkit.core.temporal import TemporalTransformer
from tvrkit.manifest import Span

_OF_IMAGE_HEAD = frozenset({"timm_proj", "timm_proj_bias", "timm_drop"})


class RetrievalModel(nn.Module):
    """Texts and videos to features, features to similarities.

    Attributes:
        config: what it was built from.
        backbone: image and text tower.
        temporal: the temporal encoder; None for `mean`, which leaves frames apart until the interaction.
        interaction: features to similarity.
    """

    def __init__(self, config: ModelConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.temporal: TemporalTransformer | None = None
        if config.temporal == "transformer":
            self.temporal = TemporalTransformer(backbone.dim, config.temporal_layers, config.num_frames)
        self.interaction = Interaction(
            backbone.dim,
            interaction=config.interaction,
            text_side=config.text_side,
            nearest_frame=config.nearest_frame,
            weight_layers=config.weight_layers,
        )
        self._vision_fingerprint = Fingerprint()
        self._video_fingerprint = Fingerprint()
        self._text_fingerprint = Fingerprint()

    @property
    def transform(self) -> Callable[[Any], Tensor]:
        """The backbone's preprocessing of one PIL image, to (3, H, W) float32; it can be pickled."""
        transform: Callable[[Any], Tensor] = self.backbone.transform
        return transform

    @property
    def pixel_transform(self) -> Callable[[Any], Any]:
        """Its first part where it has two, to (3, H, W) uint8: a quarter of the bytes for the same features."""
        return self.backbone.pixel_transform

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.backbone.logit_scale.device

    def tokenize(self, captions: Sequence[str], key_words: Sequence[Sequence[Span]] | None = None) -> Tokens:
        """Captions to tokens on the CPU; see `Tokenizer`."""
        return self.backbone.tokenizer(captions, key_words)

    def encode_text(self, tokens: Tokens) -> TextFeatures:
        """L2-normalised sentence (T, D) and word features (T, W, D), float32."""
        sentence, words = self.backbone.encode_text(tokens)
        return TextFeatures(_normalize(sentence), _normalize(words), tokens.word_mask, tokens.word_weights)

    def encode_frames(self, pixels: Tensor, frame_mask: Tensor) -> Tensor:
        """Raw frame features by the image tower's trunk alone, which `encode_video` takes and a frozen one may cache.

        Args:
            pixels: (V, F, 3, H, W), frames out of `transform` or `pixel_transform`.
            frame_mask: (V, F) bool; frames under a False are not computed.

        Returns:
            (V, F, R), zeros under a False; R is the backbone's `image_width`.
        """
        encoded = self.backbone.image_states(pixels[frame_mask])
        frames = encoded.new_zeros(*frame_mask.shape, encoded.shape[-1])
        frames[frame_mask] = encoded
        return frames

    def encode_video(self, frames: Tensor, frame_mask: Tensor) -> VideoFeatures:
        """L2-normalised frame features (V, F, D), float32, from raw ones (V, F, R) and their mask (V, F).

        They are normalised after the temporal encoder, so that similarities are cosines (arXiv 2309.11082).
        """
        frames = self.backbone.project_images(frames)
        if self.temporal is not None:
            frames = self.temporal(frames, frame_mask)
        return VideoFeatures(_normalize(frames), frame_mask)

    def similarity(self, text: TextFeatures, video: VideoFeatures) -> Tensor:
        """Similarity (T, V), unscaled, float32."""
        scores: Tensor = self.interaction(text, video)
        return scores

    def vision_fingerprint(self) -> str:
        """Names everything that decides what `encode_frames` makes of a decoded frame."""
        clip, facts = self.backbone.clip, self._vision_facts()
        if towers.image_head(clip) is not None:  # it stands behind them
            kept = {name: value for name, value in facts["vision_cfg"].items() if name not in _OF_IMAGE_HEAD}
            facts["vision_cfg"] = kept
        return self._vision_fingerprint(towers.image_trunk(clip).state_dict(), facts)

    def fingerprint(self) -> str:
        """Names everything that decides what `encode_video` makes of a video's decoded frames."""
        tensors = {f"visual.{name}": tensor for name, tensor in self.backbone.clip.visual.state_dict().items()}
        if self.temporal is not None:
            tensors |= {f"temporal.{name}": tensor for name, tensor in self.temporal.state_dict().items()}
        return self._video_fingerprint(tensors, [self._vision_facts(), self.config.temporal])

    def text_fingerprint(self) -> str:
        """Names everything that decides what `Backbone.text_states` makes of token ids."""
        state = self.backbone.clip.state_dict()
        tensors = {name: t for name, t in state.items() if not name.startswith(("visual.", "logit_", "text.proj."))}
        model_cfg = self.backbone.spec.model_cfg
        text_cfg = {name: value for name, value in model_cfg["text_cfg"].items() if name != "hf_proj_type"}
        facts = [self.backbone.kind, text_cfg, bool(model_cfg.get("quick_gelu", False))]
        return self._text_fingerprint(tensors, [*facts, self.backbone.max_words])

    def _vision_facts(self) -> dict[str, Any]:
        model_cfg = self.backbone.spec.model_cfg
        return {
            "kind": self.backbone.kind,
            "vision_cfg": model_cfg["vision_cfg"],
            "quick_gelu": bool(model_cfg.get("quick_gelu", False)),
            "preprocess_cfg": self.backbone.preprocess_cfg,
        }


def build_model(config: ModelConfig, device: torch.device | str = "cpu") -> RetrievalModel:
    """Build a model with its backbone's pretrained weights, in eval mode; new parts start at random.

    What is random comes from torch's global generator: seed it to build the same model twice.

    Raises:
        ModelError: an unknown backbone or tag, or weights that do not fit.
        WeightsUnavailableError: weights would have to be downloaded and cannot be.
    """
    backbone = build_backbone(
        config.backbone, config.pretrained, max_words=config.max_words, key_words=config.key_words
    )
    model = RetrievalModel(config, backbone)
    _start_from_text_tower(model)
    return model.eval().to(device)


def _start_from_text_tower(model: RetrievalModel) -> None:
    """Give the temporal encoder the text tower's first positions and blocks, where it can take them (CLIP4Clip)."""
    temporal, blocks, positions = model.temporal, model.backbone.text_blocks(), model.backbone.text_positions()
    if temporal is None or positions is None or len(blocks) < len(temporal.blocks):
        return
    if positions.shape[1] == model.backbone.dim and _same_make(temporal.blocks[0], blocks[0]):
        temporal.init_from_text_tower(positions, blocks)


def _same_make(own: nn.Module, other: nn.Module) -> bool:
    shapes = [{name: tensor.shape for name, tensor in block.state_dict().items()} for block in (own, other)]
    heads = [getattr(getattr(block, "attn", None), "num_heads", None) for block in (own, other)]
    return shapes[0] == shapes[1] and heads[0] == heads[1]


def _normalize(features: Tensor) -> Tensor:
    # In float32 under autocast too: a half-precision norm would move cosines by up to .001.
    return functional.normalize(features.float(), dim=-1)
