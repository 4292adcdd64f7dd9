"""How far each of a backbone's layers is from its output, told from parameters' names (layer-wise rate decay).

open_clip's towers come from several libraries, each with names of its own; all number the blocks of a stack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tvrkit.errors import ConfigError

# A block's number, and within a stage the block's: resblocks.3., encoder.layer.3., blocks.3., stages.1.blocks.3.,
# blocks.1.3. (EfficientNet's), layer1.3. (ResNet's). What opens a stage belongs to its first block.
_BLOCK = re.compile(
    r"(?:^|\.)(?:(?:resblocks|blocks|block|layers|layer|stages)\.|layer)(\d+)\.(?:(?:blocks\.)?(\d+)\.)?"
)
_LIBRARIES = re.compile(r"^(?:visual|text)\.|^(?:trunk|transformer|text_model|model|encoder)\.(?!resblocks)")
_EMBEDDINGS = frozenset(
    "class_embedding positional_embedding token_embedding cls_emb conv1 conv2 conv3 bn1 bn2 bn3 ln_pre conv_stem stem"
    " patch_embed patchnorm_pre_ln pos_embed cls_token reg_token norm_pre rope embeddings embed_tokens shared".split()
)


def distances(names: Sequence[str]) -> dict[str, int]:
    """Layers between each parameter and the output of its tower.

    Args:
        names: all parameters of an open_clip model, by its own names.

    Returns:
        Name -> 0 for what follows the blocks (norms, projections, heads) and for the logit scale, 1 for the last
        block, and so on to the embeddings, which are the furthest.

    Raises:
        ConfigError: a tower's names show no blocks.
    """
    found: dict[str, int] = {}
    for tower, own in (("image", True), ("text", False)):
        here = [name for name in names if name.startswith("visual.") == own and not name.startswith("logit_")]
        found |= _in_tower(tower, here)
    return {name: found.get(name, 0) for name in names}


def _in_tower(tower: str, names: Sequence[str]) -> dict[str, int]:
    blocks = {name: block for name in names if (block := _block(name)) is not None}
    if names and not blocks:
        raise ConfigError(
            f"train.layer_decay: the layers of this backbone's {tower} tower cannot be told by their names:"
            " leave it at 1, and give rates by train.rates."
        )
    order = {block: number for number, block in enumerate(sorted(set(blocks.values()), reverse=True), start=1)}
    return {
        name: order[blocks[name]] if name in blocks else len(order) + 1 if _is_embedding(name) else 0 for name in names
    }


def _block(name: str) -> tuple[int, int] | None:
    match = None if _is_embedding(name) else _BLOCK.search(name)
    return None if match is None else (int(match[1]), int(match[2] or 0))


def _is_embedding(name: str) -> bool:
    # Off with what the libraries wrap their towers in: visual.trunk.stem, text.transformer.encoder.embed_tokens.
    while (shorter := _LIBRARIES.sub("", name)) != name:
        name = shorter
    return name.split(".")[0] in _EMBEDDINGS
