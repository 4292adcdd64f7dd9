"""One published benchmark: what it is, under which terms, where its files lie and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tvrkit.prepare.benchmarks.item import Annotations
from tvrkit.prepare.benchmarks.sources import AnnotationFiles
from tvrkit.prepare.downloads.assets import Asset


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that `tvrkit prepare NAME` makes a data set of.

    Attributes:
        name: the word on the command line.
        title: what people call it.
        about: what it is, in one sentence.
        homepage: address of its own page.
        paper: authors, title, venue and year.
        licence: whose terms hold and what they allow, in one or two sentences.
        by_hand: how to get what no address gives, as a sentence that tells what to do.
        splits: value of `--split` -> name of the protocol; the first is the default.
        preset: the settings to train it with, where some are published.
        read: the files and a value of `--split` -> what they say.
        annotation_files: names of all files that `read` knows.
        assets: files with a public address.
        download: how large their videos are, as those say who fetched them; no size to check by.
    """

    name: str
    title: str
    about: str
    homepage: str
    paper: str
    licence: str
    by_hand: str
    splits: Mapping[str, str]
    preset: str | None
    read: Callable[[AnnotationFiles, str], Annotations]
    annotation_files: tuple[str, ...]
    assets: tuple[Asset, ...] = ()
    download: str = ""
