"""`tvrkit datasets`: which benchmarks there are, their sizes and terms, and what is prepared here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tvrkit.cli import output
from tvrkit.cli.options import json_option
from tvrkit.errors import DataError

if TYPE_CHECKING:
    from tvrkit.prepare.benchmarks.benchmark import Benchmark
    from tvrkit.prepare.listing import PreparedSet

ORDER = ("train", "val", "test")
SHAPES_TERMS = "Rendered here, 64 MB; comes with tvrkit (Apache-2.0)."


@click.command()
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the benchmarks, and what of them is prepared here.

    Their sizes, terms and sources; with a NAME everything about one of them, with the files that are accepted and
    where each comes from.

    \b
    Example:
      tvrkit datasets msvd
    """
    if name is None:
        _show_all(as_json)
    else:
        _show_one(name, as_json)


def _show_all(as_json: bool) -> None:
    from tvrkit.prepare.benchmarks import BENCHMARKS
    from tvrkit.prepare.listing import all_prepared
    from tvrkit.workspace import data_folder

    found, wrong = all_prepared()
    for name, reason in wrong.items():
        output.warn(f"{name}: {reason}")
    if as_json:
        benchmarks = [_benchmark_json(benchmark) for benchmark in BENCHMARKS.values()]
        output.print_json({"benchmarks": benchmarks, "prepared": [it.to_json() for it in found], "unreadable": wrong})
        return
    protocols = [(name, protocol) for name, b in BENCHMARKS.items() for protocol in b.splits.values()]
    rows = [(name, protocol, *_sizes(protocol)) for name, protocol in [*protocols, ("shapes", "shapes")]]
    output.print_table(("prepare", "protocol", *ORDER), rows, title="Videos/captions of each split")
    terms = [(name, _download(b), b.licence.partition(". ")[0].rstrip(".")) for name, b in BENCHMARKS.items()]
    output.print_table(("prepare", "videos from", "terms"), [*terms, ("shapes", "built in", SHAPES_TERMS)])
    output.say("The whole terms, the files and their addresses: tvrkit datasets NAME")
    if found:
        here = [(it.name, it.kind, it.protocol, _here(it)) for it in found]
        output.print_table(("name", "from", "protocol", "videos"), here, title=f"Prepared in {data_folder()}")
    else:
        output.say(f"Nothing is prepared in {data_folder()}: tvrkit prepare shapes needs no download.")


def _show_one(name: str, as_json: bool) -> None:
    from tvrkit.prepare.benchmarks import BENCHMARKS
    from tvrkit.prepare.listing import all_prepared
    from tvrkit.workspace import data_folder

    found, wrong = all_prepared()
    here = [it for it in found if name in (it.name, it.kind)]
    benchmark = BENCHMARKS.get(name)
    if benchmark is None and not here and name != "shapes":
        if name in wrong:
            raise DataError(wrong[name])
        known = ", ".join([*BENCHMARKS, "shapes", *(it.name for it in found if it.name not in (*BENCHMARKS, "shapes"))])
        raise DataError(f"there is no data set {name!r}, here or known: there are {known}.")
    if as_json:
        one = _benchmark_json(benchmark) if benchmark else {"name": name}
        output.print_json({**one, "prepared": [it.to_json() for it in here]})
        return
    if benchmark is not None:
        _show_benchmark(benchmark)
    elif name == "shapes":
        _lines(("shapes", "the built-in benchmark: moving shapes, with captions"), ("terms", SHAPES_TERMS))
        _show_protocols({"": "shapes"})
    for it in here:
        _lines((f"here: {it.name}", _here(it)), ("made by", it.command or "an older tvrkit"))
    if not here:
        output.say(f"Not prepared in {data_folder()}: tvrkit prepare {name}")


def _show_benchmark(benchmark: Benchmark) -> None:
    _lines(
        (benchmark.title, benchmark.about),
        ("home", benchmark.homepage),
        ("paper", benchmark.paper),
        ("terms", benchmark.licence),
        ("videos", _download(benchmark)),
        ("by hand", benchmark.by_hand),
        ("preset", benchmark.preset or "none"),
        ("accepted", ", ".join(benchmark.annotation_files)),
    )
    _show_protocols(benchmark.splits)
    for asset in benchmark.assets:
        optional = ", optional" if asset.optional else ""
        _lines((asset.name, f"{asset.holds}, {_size(asset.size)}{optional}"))
        for url in asset.urls:
            click.echo(f"  {url}")


def _show_protocols(splits: Any) -> None:
    from tvrkit.protocols import PROTOCOLS

    rows = [(split, protocol, *_sizes(protocol)) for split, protocol in splits.items()]
    output.print_table(("--split", "protocol", *ORDER), rows, title="Videos/captions of each split")
    for protocol in splits.values():
        _lines((protocol, f"{PROTOCOLS[protocol].queries} {PROTOCOLS[protocol].source}"))


def _lines(*pairs: tuple[str, str]) -> None:
    for head, text in pairs:
        if text:
            click.echo(click.wrap_text(f"{head}: {output.printable(text)}", width=80, subsequent_indent="  "))


def _sizes(protocol: str) -> list[str | None]:
    from tvrkit.protocols import PROTOCOLS

    sizes = PROTOCOLS[protocol].sizes
    return [_pair(*sizes[split]) if split in sizes else None for split in ORDER]


def _pair(videos: int, captions: int | None) -> str:
    return f"{videos:,}/{'?' if captions is None else f'{captions:,}'}"


def _download(benchmark: Benchmark) -> str:
    from tvrkit.prepare.material import hosts_of

    videos = [asset for asset in benchmark.assets if asset.holds == "videos"]
    if not videos:
        return "by hand"
    hosts = dict.fromkeys(host for asset in videos for host in hosts_of(asset).split(", "))
    return ", ".join(hosts) + (f" (about {benchmark.download})" if benchmark.download else "")


def _size(size: int | None) -> str:
    from tvrkit.prepare.downloads.sizes import in_words

    return "size unknown" if size is None else in_words(size)


def _here(it: PreparedSet) -> str:
    return ", ".join(it.words()) + ("; small copies" if it.compressed else "")


def _benchmark_json(benchmark: Benchmark) -> dict[str, Any]:
    from tvrkit.protocols import PROTOCOLS

    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "about": benchmark.about,
        "homepage": benchmark.homepage,
        "paper": benchmark.paper,
        "licence": benchmark.licence,
        "by_hand": benchmark.by_hand,
        "preset": benchmark.preset,
        "download": benchmark.download or None,
        "annotation_files": list(benchmark.annotation_files),
        "splits": {
            split: {
                "protocol": protocol,
                "sizes": {
                    name: {"videos": videos, "captions": captions}
                    for name, (videos, captions) in PROTOCOLS[protocol].sizes.items()
                },
            }
            for split, protocol in benchmark.splits.items()
        },
        "assets": [
            {"name": a.name, "holds": a.holds, "urls": list(a.urls), "bytes": a.size, "optional": a.optional}
            for a in benchmark.assets
        ],
    }
