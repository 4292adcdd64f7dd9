"""`tvrkit models`: which backbones there are, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.cli.options import json_option
from tvrkit.errors import ModelError

if TYPE_CHECKING:
    from tvrkit.core.catalogue import Entry

DETAILED = 3
"""A choice of no more than this is told in full instead of in a table."""


@click.command()
@click.argument("word", required=False)
@click.option("--cached", is_flag=True, help="Only those whose weights are here: built in, or in the hub's cache.")
@click.option("--all", "everything", is_flag=True, help="Every one, not only the short list.")
@json_option
def command(word: str | None, cached: bool, everything: bool, as_json: bool) -> None:
    """List the backbones that --model takes.

    Says for each its size, its licence, what is published of its zero-shot retrieval, and whether its weights are here.
    A short list without a WORD; else all whose names hold it, in full where it finds no more than three.
    docs/backbones.md says more.

    \b
    Example:
      tvrkit models PE-Core
    """
    from tvrkit.core.catalogue import SHORTLIST, catalogue
    from tvrkit.core.spec import nearest_names

    entries = catalogue()
    chosen = entries
    if word is not None:
        chosen = [entry for entry in entries if _spelling(word) in _spelling(entry.name)]
        if not chosen:
            names = list(dict.fromkeys(entry.backbone for entry in entries))
            raise ModelError(f"no backbone's name holds {word!r}{nearest_names(word, names)}.")
    elif not (everything or cached):
        chosen = [entry for entry in entries if entry.cached or entry.name in SHORTLIST]
    if cached:
        chosen = [entry for entry in chosen if entry.cached]
    if as_json:
        output.print_json({"models": [entry.to_dict() for entry in chosen]})
        return
    if len(chosen) <= DETAILED:
        for entry in chosen:
            _print_in_full(entry)
    else:
        _print_table(chosen)
    if word is None and len(chosen) < len(entries) and not cached:
        output.say(f"{len(entries) - len(chosen)} more: tvrkit models --all, or a WORD of their names.")
    if not chosen:
        output.say("No weights of that name are here; they are downloaded when they are first used.")


def _spelling(name: str) -> str:
    # Papers write ViT-B/32 where open_clip writes ViT-B-32.
    return name.lower().replace("/", "-")


def _print_table(entries: Sequence[Entry]) -> None:
    rows = [
        (
            entry.name,
            _millions(entry),
            str(entry.image_size),
            _percent(entry.figure("MSR-VTT")),
            _percent(entry.figure("COCO")),
            entry.licence.name if entry.licence else "-",
            _note(entry),
        )
        for entry in entries
    ]
    header = ("model", "M", "px", "VTT", "COCO", "licence", "note")
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for i, row in enumerate([header, *rows]):
        # A name stays whole, however narrow the terminal is: it is there to be copied.
        cells = [
            cell.rjust(width) if title in ("px", "VTT", "COCO") else cell.ljust(width)
            for cell, width, title in zip(row, widths, header, strict=True)
        ]
        line = "  ".join(cells).rstrip()
        click.secho(line, bold=i == 0)
    output.say(
        "M: parameters of the image and the text tower, millions. VTT, COCO: zero-shot R@1 on MSR-VTT and on COCO"
        " captions, in percent, as others publish it and not measured by tvrkit; a WORD that finds one model gives the"
        " sources."
    )
    notes = " ".join(row[-1] for row in rows)
    if "*" in notes:
        output.say("*: what `tvrkit query` takes where no model is named or trained.")
    if "hf" in notes:
        output.say("hf: needs transformers, `pip install 'tvrkit[hf]'`.")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _note(entry: Entry) -> str:
    words = [
        "*" if "query" in entry.default_of else "",
        "here" if entry.cached else "",
        "hf" if entry.needs_transformers else "",
        "untrained" if entry.tag is None else "",
    ]
    return " ".join(filter(None, words))


def _millions(entry: Entry) -> str:
    if entry.parameters is None:
        return "-"
    return "+".join(f"{n / 1e6:.1f}" if n < 1e7 else f"{n / 1e6:.0f}" for n in entry.parameters)


def _print_in_full(entry: Entry) -> None:
    facts = [
        ("parameters", _parameters(entry)),
        ("takes", f"{entry.image_size} px, {entry.context_length} tokens; features of {entry.dim} numbers"),
        ("weights", _weights(entry)),
        ("licence", _licence(entry)),
        *(("published", f"{f.measure} {f.value}: {f.what} ({f.source})") for f in entry.figures),
        ("default of", ", ".join(entry.default_of)),
        ("needs", "pip install 'tvrkit[hf]'" if entry.needs_transformers else ""),
    ]
    click.echo(entry.name)
    for label, fact in facts:
        if fact:
            click.echo(f"  {label:<11} {fact}")


def _parameters(entry: Entry) -> str:
    if entry.parameters is None:
        return "not counted: it is newer than this tvrkit"
    image, text = entry.parameters
    return f"{image / 1e6:.1f} million in the image tower, {text / 1e6:.1f} million in the text tower"


def _weights(entry: Entry) -> str:
    if entry.tag is None:
        return f"none published: train it, with --set model.backbone={entry.backbone} --set model.pretrained=null"
    if entry.built_in:
        return "built in; they know moving shapes only"
    size = f"about {sum(entry.parameters) * 4 / 1e6:.0f} MB in float32" if entry.parameters else "of unknown size"
    return f"{'cached here' if entry.cached else 'not here yet'}, {size}, from {entry.repository}"


def _licence(entry: Entry) -> str:
    if entry.tag is None:
        return ""
    if entry.licence is None:
        return f"see https://huggingface.co/{entry.repository}"
    note = f", {entry.licence.note}" if entry.licence.note else ""
    return f"{entry.licence.name}{note} ({entry.licence.source})"
