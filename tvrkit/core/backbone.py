"""One open_clip model as tvrkit uses it: frames and texts in, unnormalised features out."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tvrkit.core import towers
from tvrkit.core.architecture import bpe_file, build_clip, build_encoder, build_transform, preprocess_config
from tvrkit.core.features import Tokens
from tvrkit.core.kept_texts import KeptTexts
from tvrkit.core.normalise import Normalise
from tvrkit.core.spec import BackboneSpec, find_spec, find_weights, unclear_activation
from tvrkit.core.text import Tokenizer
from tvrkit.core.tower_weights import load_towers
from tvrkit.core.weights import is_openai, load_weights, read_weights
from tvrkit.frames.preprocess import Transform, in_two_parts

_log = logging.getLogger("tvrkit.core")


class Backbone(nn.Module):
    """Image and text tower.

    Args:
        spec: the architecture.
        clip: the open_clip model built from it.
        max_words: tokens kept of a text; at most the text tower's context length.
        key_words: whether its tokenizer weighs key words.

    Raises:
        ModelError: its tokenizer or preprocessing cannot be built.

    Attributes:
        clip, spec: as given.
        transform: open_clip's own preprocessing of a PIL image, to (3, H, W) float32.
        pixel_transform: its first part, to (3, H, W) uint8, of which `encode_images` does the rest; `transform` itself
            where that has no such parts.
        tokenizer: captions to `Tokens`.
        dim: D.
        image_width: R, of what `image_states` gives.
        context_length: positions of the text tower.
        max_words: W.
        kept_texts: states of texts that need not be computed again while the text tower's trunk stands still; set from
            outside.
    """

    kept_texts: KeptTexts | None = None

    def __init__(self, spec: BackboneSpec, clip: Any, *, max_words: int, key_words: bool) -> None:
        super().__init__()
        self.spec = spec
        # CoCa's caption writer has no part in retrieval.
        clip._modules.pop("text_decoder", None)
        self.clip = clip
        self.dim = int(spec.model_cfg["embed_dim"])
        self.context_length = int(spec.text_cfg.get("context_length", 77))
        self.preprocess_cfg = preprocess_config(spec, clip)
        self.transform = build_transform(self.preprocess_cfg)
        parts = in_two_parts(self.transform)
        self.pixel_transform: Transform = self.transform if parts is None else parts.pixels
        self._normalise = None if parts is None else Normalise(parts.mean, parts.std)
        self.tokenizer = Tokenizer(
            build_encoder(spec, self.context_length),
            context_length=self.context_length,
            max_words=max_words,
            pad_to_context=not towers.may_be_trimmed(self.clip),
            key_words=key_words,
        )
        self.max_words = self.tokenizer.max_words
        # The folder that they came from may be gone when the model is written: a checkpoint makes room for newer ones.
        self.bpe_file = bpe_file(spec)

    @property
    def kind(self) -> str:
        """open_clip's class: CLIP, CustomTextCLIP or CoCa."""
        return type(self.clip).__name__

    @property
    def logit_scale(self) -> nn.Parameter:
        """Log of the factor on cosine similarities that the backbone was trained with."""
        scale: nn.Parameter = self.clip.logit_scale
        return scale

    def encode_text(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Sentence features (T, D), as open_clip's `encode_text`, and word features (T, W, D); not normalised."""
        kept = None if self.kept_texts is None else self.kept_texts.look_up(tokens)
        if kept is None:
            sentence, words = towers.encode_positions(self.clip, tokens.ids)
        else:
            sentence, words = towers.project_states(self.clip, kept)
        return sentence, words[:, : self.max_words]

    def text_states(self, tokens: Tokens) -> Tensor:
        """What the text tower's trunk makes of texts, (T, 1 + n, width) up to the longest: what `KeptTexts` keeps."""
        longest = int(tokens.word_mask.sum(dim=1).max())
        ids = tokens.ids[:, :longest] if towers.may_be_trimmed(self.clip) else tokens.ids
        return towers.text_states(self.clip, ids)[:, : longest + 1]

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Features (N, D), as open_clip's `encode_image`; not normalised.

        Args:
            pixels: as for `image_states`.
        """
        return self.project_images(self.image_states(pixels))

    def image_states(self, pixels: Tensor) -> Tensor:
        """What the image tower makes of pictures before the projection that it may have apart: (N, R).

        Args:
            pixels: (N, 3, H, W), float32 as `transform` makes them or uint8 as `pixel_transform` does.
        """
        if pixels.dtype == torch.uint8:
            if self._normalise is None:
                raise ValueError("this backbone's transform has no part that gives 8-bit pixels")
            pixels = self._normalise(pixels)
        states: Tensor = towers.image_states(self.clip, pixels)
        return states

    def project_images(self, states: Tensor) -> Tensor:
        """Features (..., D) out of `image_states` (..., R)."""
        head = towers.image_head(self.clip)
        if head is None:
            return states
        if states.dtype == torch.float64:  # evaluation: it widens what stands behind the towers
            head = copy.deepcopy(head).eval().to(states)
        features: Tensor = head(states)
        return features

    def text_blocks(self) -> list[nn.Module]:
        """The text tower's transformer blocks, or none where it has not open_clip's own kind."""
        from open_clip.transformer import ResidualAttentionBlock

        transformer = getattr(towers.text_tower(self.clip), "transformer", None)
        blocks = list(getattr(transformer, "resblocks", ()))
        return blocks if all(isinstance(block, ResidualAttentionBlock) for block in blocks) else []

    def text_positions(self) -> Tensor | None:
        """The text tower's position embedding (context_length, width), if it has a learned one."""
        positions = getattr(towers.text_tower(self.clip), "positional_embedding", None)
        return positions.detach() if isinstance(positions, Tensor) else None

    def vision_parameters(self) -> Iterator[nn.Parameter]:
        """The image tower's parameters."""
        return iter(self.clip.visual.parameters())

    def text_parameters(self) -> Iterator[nn.Parameter]:
        """The text tower's parameters."""
        return towers.text_parameters(self.clip)

    @property
    def image_width(self) -> int:
        """R: D, unless the image tower has its projection apart."""
        return self.dim if towers.image_head(self.clip) is None else int(self.clip.visual.trunk.num_features)

    @property
    def images_stand_still(self) -> bool:
        """Whether nothing is trained of what `image_states` computes."""
        return not any(parameter.requires_grad for parameter in towers.image_trunk(self.clip).parameters())

    @property
    def text_stands_still(self) -> bool:
        """Whether nothing is trained of what `text_states` computes."""
        return not any(parameter.requires_grad for parameter in towers.text_trunk(self.clip))


def build_backbone(name: str, pretrained: str | None, *, max_words: int, key_words: bool = False) -> Backbone:
    """Build a backbone and load its weights, on the CPU and in eval mode.

    Args:
        name: an open_clip name, the path of a config JSON (or of its folder), or `shapes`.
        pretrained: a tag, the path of a weights file, `TAG=FILE` for one that is of that tag's make, or None for those
            of the config's `tower_weights`, and random ones out of torch's generator where it names none.
        max_words: tokens kept of a text.
        key_words: whether its tokenizer weighs key words.

    Raises:
        ModelError: an unknown name or tag, a config or weights that do not fit.
        WeightsUnavailableError: weights or tokenizer would have to be downloaded and cannot be.
    """
    spec = find_spec(name, pretrained)
    path = find_weights(name, pretrained)
    weights = None if path is None else read_weights(path)
    if weights is not None and is_openai(weights):
        spec = spec.with_quick_gelu()
    elif weights is not None and pretrained is not None and (unclear := unclear_activation(name, pretrained)):
        _log.warning(unclear)
    clip = build_clip(spec)
    if weights is not None:
        load_weights(clip, weights, str(path))
    elif spec.tower_weights:
        load_towers(clip, spec)
    return Backbone(spec, clip, max_words=max_words, key_words=key_words).eval()
