"""`tvrkit convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.cli.options import json_option

if TYPE_CHECKING:
    from tvrkit.core.convert import Converted

NAMES_SHOWN = 20


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Where to write the model; an earlier one there is replaced.",
)
@click.option(
    "--backbone",
    metavar="NAME",
    help="open_clip's NAME or NAME/TAG whose architecture it is.  [default: one of OpenAI's, told from the shapes]",
)
@click.option(
    "--frames", type=click.IntRange(min=1), default=12, show_default=True, help="Frames to sample from a video."
)
@click.option("--words", type=click.IntRange(min=3), default=32, show_default=True, help="Tokens to keep of a caption.")
@json_option
def command(file: Path, out: Path, backbone: str | None, frames: int, words: int, as_json: bool) -> None:
    """Turn other code's weights into a model that tvrkit can use.

    FILE is a state dict of CLIP4Clip, X-CLIP, TS2-Net or DRL, or a CLIP of OpenAI's or open_clip's own. It is read
    without running anything that may hide in it. The folder goes wherever --model is asked for, and into
    --set train.init_from=DIR. Says which names matched and which did not.

    \b
    Example:
      tvrkit convert pytorch_model.bin.4 --out clip4clip
    """
    from tvrkit.core.convert import convert

    done = convert(file, out, backbone=backbone, num_frames=frames, max_words=words)
    _say(done)
    if as_json:
        output.print_json(_facts(done))
    else:
        click.echo(done.folder)


def _say(done: Converted) -> None:
    model, match = done.model, done.match
    layers = f" of {model.temporal_layers} layers" if model.temporal == "transformer" else ""
    output.say(
        f"Backbone: {model.backbone}{' with QuickGELU' if done.quick_gelu else ''}; temporal: {model.temporal}{layers};"
        f" interaction: {model.interaction}."
    )
    output.say(f"Matched: {len(match.matched)} tensors, all that the model has.")
    if match.cut:
        output.say(f"Cut to {model.num_frames} frames: {', '.join(match.cut)}.")
    if match.unused:
        output.say(f"Not matched: {len(match.unused)} tensors that the model has no place for:")
        for name in match.unused[:NAMES_SHOWN]:
            output.say(f"  {name}")
        if len(match.unused) > NAMES_SHOWN:
            output.say(f"  and {len(match.unused) - NAMES_SHOWN} more; --json lists them all.")
    for remark in done.remarks:
        output.warn(f"{remark[0].upper()}{remark[1:]}")
    output.say(f"Written: {done.folder}; load it with --model, or begin from it with train.init_from.")


def _facts(done: Converted) -> dict[str, object]:
    from tvrkit.config import config_to_dict

    return {
        "folder": str(done.folder),
        "model": config_to_dict(done.model),
        "quick_gelu": done.quick_gelu,
        "matched": list(done.match.matched),
        "cut": list(done.match.cut),
        "unused": list(done.match.unused),
        "remarks": list(done.remarks),
    }
