"""Whether an index was made the way that is asked for. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tvrkit.errors import ConfigError, StoreError
from tvrkit.frames.moment_request import Cutting

if TYPE_CHECKING:
    from tvrkit.index.video_index import IndexMeta


def check_fits(place: str, stored: IndexMeta, wanted: IndexMeta) -> None:
    """Refuse to mix what cannot be compared.

    Raises:
        ConfigError: the index was made by another model, cuts videos otherwise, or has another format.
    """
    if stored.format != wanted.format:
        raise ConfigError(
            f"the index {place} has format {stored.format}, and this tvrkit writes {wanted.format}: give another"
            " --index, or `tvrkit index --rebuild` to make it anew."
        )
    if stored.fingerprint != wanted.fingerprint:
        raise ConfigError(
            f"the index {place} was made by the model {stored.model} ({stored.fingerprint[:8]}), not by {wanted.model}"
            f" ({wanted.fingerprint[:8]}), and their features cannot be mixed: leave out --model to use the index's"
            " own, give another --index, or `tvrkit index --rebuild` to make it anew."
        )
    if (stored.num_frames, stored.cutting) != (wanted.num_frames, wanted.cutting):
        raise ConfigError(
            f"the index {place} was cut by {cut_words(stored)}, not by {cut_words(wanted)}: leave those options out,"
            " give another --index, or `tvrkit index --rebuild` to make it anew."
        )


def cut_words(meta: IndexMeta) -> str:
    """How videos are cut, in words."""
    cutting = meta.cutting
    frames = f"at most {meta.num_frames} frames a moment"
    if cutting.cut == "whole":
        return f"whole videos, {frames}"
    overlap = f"{cutting.overlap_seconds:g} s overlap"
    kind = f"shots of {cutting.min_seconds:g} to" if cutting.cut == "shots" else "windows of"
    return f"{kind} {cutting.max_seconds:g} s, {overlap}, {cutting.fps:g} frames/s, {frames}"


def to_json(meta: IndexMeta) -> str:
    """As text that a person can read."""
    return json.dumps({"tvrkit_index": meta.format, **asdict(meta)}, indent=2) + "\n"


def from_json(text: str, place: str) -> IndexMeta:
    """Back from `to_json`.

    Raises:
        StoreError: it is no such text.
    """
    from tvrkit.index.video_index import IndexMeta

    try:
        value: Mapping[str, Any] = json.loads(text)
        return IndexMeta(
            fingerprint=str(value["fingerprint"]),
            model=str(value["model"]),
            dim=int(value["dim"]),
            num_frames=int(value["num_frames"]),
            cutting=Cutting(**value["cutting"]),
            format=int(value["format"]),
        )
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise StoreError(f"what the index {place} says of itself cannot be read ({error}).") from None
