"""How the published benchmarks are measured: which split, how many videos, what counts as a query.

Where a figure comes from is told by each protocol's `source`; docs/evaluation.md says more of how they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Protocol:
    """How one benchmark is measured.

    Attributes:
        name: the word in manifests.
        title: for people.
        queries: what counts as a query, in each direction.
        source: who set it down, and where its sizes come from.
        sizes: split -> (videos, captions); None where no figure holds for everybody.
    """

    name: str
    title: str
    queries: str
    source: str
    sizes: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Coverage:
    """What of a protocol's split is there.

    Attributes:
        protocol: name; None where the data set follows none.
        split: name.
        videos: in the gallery.
        queries: captions.
        expected_videos: of the protocol; None where it says nothing of this split.
        expected_queries: of the protocol, likewise.
    """

    protocol: str | None
    split: str
    videos: int
    queries: int
    expected_videos: int | None = None
    expected_queries: int | None = None

    @property
    def complete(self) -> bool:
        """Whether these are the protocol's own numbers, as far as it gives any: fewer and more both are another set."""
        return self.expected_videos in (None, self.videos) and self.expected_queries in (None, self.queries)

    def words(self) -> str:
        """For instance `998 of 1,000 videos and 998 of 1,000 captions of msrvtt-1ka`."""
        parts = [_counted(self.videos, self.expected_videos, "video")]
        parts.append(_counted(self.queries, self.expected_queries, "caption"))
        known = self.expected_videos is not None or self.expected_queries is not None
        return " and ".join(parts) + (f" of {self.protocol}" if known else "")

    def to_dict(self) -> dict[str, int | bool | None]:
        """For JSON."""
        return {
            "videos": self.videos,
            "expected_videos": self.expected_videos,
            "queries": self.queries,
            "expected_queries": self.expected_queries,
            "complete": self.complete,
        }


def coverage_of(protocol: str | None, split: str, videos: int, queries: int) -> Coverage:
    """Compare a split with its protocol; of one that nobody knows nothing is expected."""
    known = PROTOCOLS.get(protocol) if protocol is not None else None
    expected = known.sizes.get(split, (None, None)) if known is not None else (None, None)
    return Coverage(protocol, split, videos, queries, *expected)


def _counted(here: int, expected: int | None, thing: str) -> str:
    if expected is None:
        return f"{here:,} {thing}" + ("" if here == 1 else "s")
    if here > expected:
        return f"{here:,} instead of {expected:,} {thing}s"
    return f"{here:,} of {expected:,} {thing}s"


_ONE_CAPTION = "One caption a video: each asks for its video, and each video for its caption."
_EVERY_CAPTION = (
    "Every caption asks for its video; a video asks among the videos' captions, each video counting by its best."
)
_PARAGRAPH = (
    "All sentences of a video, joined in the order of their file, are one query for the whole video; each video asks"
    " for its paragraph."
)
_MSRVTT = "Data: Xu et al., MSR-VTT, CVPR 2016."

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "msrvtt-1ka",
            "MSR-VTT, 1k-A with 9,000 training videos",
            _ONE_CAPTION,
            "Test pairs: Yu, Kim and Kim, JSFusion, ECCV 2018. Training on the other 9,000 videos: Gabeur et al., MMT,"
            f" ECCV 2020. {_MSRVTT}",
            {"train": (9000, 180_000), "test": (1000, 1000)},
        ),
        Protocol(
            "msrvtt-7k",
            "MSR-VTT, 1k-A with 7,010 training videos",
            _ONE_CAPTION,
            "Test pairs: Yu, Kim and Kim, JSFusion, ECCV 2018. Training on the official training and validation videos:"
            f" Miech et al., HowTo100M, ICCV 2019. {_MSRVTT}",
            {"train": (7010, 140_200), "test": (1000, 1000)},
        ),
        Protocol(
            "msrvtt-full",
            "MSR-VTT, official split",
            _EVERY_CAPTION,
            "Xu et al., MSR-VTT, CVPR 2016: 20 captions a video.",
            {"train": (6513, 130_260), "val": (497, 9940), "test": (2990, 59_800)},
        ),
        Protocol(
            "msvd",
            "MSVD",
            _EVERY_CAPTION,
            "Data: Chen and Dolan, ACL 2011. Split: Venugopalan et al., NAACL 2015. The captions are counted in the"
            " English ones that the field passes on.",
            {"train": (1200, 48_774), "val": (100, 4290), "test": (670, 27_763)},
        ),
        Protocol(
            "didemo",
            "DiDeMo, paragraphs",
            _PARAGRAPH,
            "Data: Hendricks et al., ICCV 2017. Paragraphs: Zhang, Hu and Sha, ECCV 2018. Lists: Liu et al.,"
            " Collaborative Experts, BMVC 2019, whose training list has 8,392 videos where papers speak of 8,395.",
            {"train": (8392, 8392), "val": (1065, 1065), "test": (1004, 1004)},
        ),
        Protocol(
            "activitynet",
            "ActivityNet Captions, paragraphs, val_1",
            _PARAGRAPH,
            "Data: Krishna et al., ICCV 2017. Paragraphs, tested on val_1: Zhang, Hu and Sha, ECCV 2018.",
            {"train": (10_009, 10_009), "test": (4917, 4917)},
        ),
        Protocol(
            "activitynet-val2",
            "ActivityNet Captions, paragraphs, val_2",
            _PARAGRAPH,
            "Data: Krishna et al., ICCV 2017. The second annotators' file of the validation videos.",
            {"train": (10_009, 10_009), "test": (4885, 4885)},
        ),
        Protocol(
            "lsmdc",
            "LSMDC, 1,000 public test clips",
            _ONE_CAPTION,
            "Data: Rohrbach et al., IJCV 2017. Test clips: Torabi, Tandon and Sigal, arXiv 1609.08124, 2016.",
            {"test": (1000, 1000)},
        ),
        Protocol(
            "vatex",
            "VATEX, English",
            _EVERY_CAPTION,
            "Data: Wang et al., ICCV 2019: 10 English captions a video. Split: Chen et al., HGR, CVPR 2020, which"
            " halves the 3,000 validation videos.",
            {"train": (25_991, 259_910), "val": (1500, 15_000), "test": (1500, 15_000)},
        ),
        Protocol(
            "charades",
            "Charades, scripts",
            _ONE_CAPTION,
            "Data: Sigurdsson et al., Hollywood in Homes, ECCV 2016. The script of a video as its one query: Lin et"
            " al., ECLIPSE, ECCV 2022.",
            {"train": (7985, 7985), "test": (1863, 1863)},
        ),
        Protocol(
            "shapes",
            "shapes, built in",
            _EVERY_CAPTION,
            "docs/data.md: rendered from a seed, at scale 1; val and test have one caption a video, train has four.",
            {"train": (4800, 19_200), "val": (300, 300), "test": (500, 500), "hard": (400, 400)},
        ),
        Protocol(
            "folder",
            "your own clips",
            _EVERY_CAPTION,
            "docs/data.md: whatever the folder holds.",
        ),
    )
}
