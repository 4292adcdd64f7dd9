"""Public addresses of the benchmarks' files, several where there are several, the most complete copy first.

Each was found in a public repository's documentation or code. Sizes and checksums are given only where one of those
states them, which the comment beside them tells. `optional` files are other ways to what the rest holds.
"""

from __future__ import annotations

from tvrkit.prepare.downloads.assets import Asset, Holds

HUB = "https://huggingface.co/datasets"
CLIP4CLIP = "https://github.com/ArrowLuo/CLIP4Clip/releases/download/v0.0"
EXPERTS = "https://raw.githubusercontent.com/albanie/collaborative-experts/master/misc/datasets"
MOMENTS = "https://raw.githubusercontent.com/LisaAnne/LocalizingMoments/master/data"
TEXAS = "https://www.cs.utexas.edu/users/ml/clamp/videoDescription"
AI2 = "https://ai2-public-datasets.s3-us-west-2.amazonaws.com/charades"
# A commit, since the branch may move on.
TRIANGLE = (
    "https://raw.githubusercontent.com/ispamm/TRIANGLE/6d4598af447bb7584643ae141885249701dcb0cb/datasets/annotations"
)


def _hub(name: str, *copies: str, holds: Holds = "annotations", optional: bool = False) -> Asset:
    """A file of copies on the hub, each `owner/data set/path`, the path without its last part, which is the name."""
    urls = []
    for copy in copies:
        owner, repo, *folders = copy.split("/")
        urls.append("/".join((HUB, owner, repo, "resolve", "main", *folders, name)))
    return Asset(name, holds, tuple(urls), optional=optional)


MSRVTT = (
    _hub("MSRVTT_data.json", "friedrichor/MSR-VTT/raw_data", "VLM2Vec/MSR-VTT/raw_data", "aTunass/test_load_dataset"),
    _hub("MSRVTT_JSFUSION_test.csv", "friedrichor/MSR-VTT/raw_data", "aTunass/test_load_dataset"),
    # These two lists follow from the numbers of the videos.
    _hub("MSRVTT_train.9k.csv", "friedrichor/MSR-VTT/raw_data", "aTunass/test_load_dataset", optional=True),
    _hub("MSRVTT_train.7k.csv", "friedrichor/MSR-VTT/raw_data", optional=True),
    # All of these together, without the hub.
    Asset("msrvtt_data.zip", "annotations", (f"{CLIP4CLIP}/msrvtt_data.zip",), optional=True),
    # 10,000 clips, 2 GB; Oxford's archive holds the same clips in 6.5 GB.
    Asset(
        "MSRVTT_Videos.zip",
        "videos",
        (
            f"{HUB}/friedrichor/MSR-VTT/resolve/main/MSRVTT_Videos.zip",
            f"{HUB}/nisav/MSR-VTT/resolve/a9c822473969ee469e224da2187fda193c62e960/MSRVTT_Videos.zip",
            "https://www.robots.ox.ac.uk/~maxbain/frozen-in-time/data/MSRVTT.zip",
        ),
    ),
)

MSVD = (
    # raw-captions.pkl and the three lists.
    Asset("msvd_data.zip", "annotations", (f"{CLIP4CLIP}/msvd_data.zip",), optional=True),
    Asset(
        "AllVideoDescriptions.txt",
        "annotations",
        (
            f"{HUB}/friedrichor/MSVD/resolve/main/raw_data/AllVideoDescriptions.txt",
            f"{TEXAS}/AllVideoDescriptions.txt",
        ),
    ),
    *(
        Asset(
            f"{split}_list.txt",
            "annotations",
            (
                f"{HUB}/VLM2Vec/MSVD/resolve/main/raw_data/{split}_list.txt",
                f"{EXPERTS}/msvd/{split}_list.txt",
            ),
        )
        for split in ("train", "val", "test")
    ),
    Asset(
        "YouTubeClips.tar",
        "videos",
        (f"{TEXAS}/YouTubeClips.tar", f"{HUB}/OneDiffusion/MSVD/resolve/main/YouTubeClips.tar"),
    ),
)

DIDEMO = (
    *(
        Asset(
            f"{split}_data.json",
            "annotations",
            (f"{MOMENTS}/{split}_data.json", f"{HUB}/friedrichor/DiDeMo/resolve/main/raw_data/didemo_{split}.json"),
        )
        for split in ("train", "val", "test")
    ),
    *(
        Asset(f"{split}_list.txt", "annotations", (f"{EXPERTS}/didemo/{split}_list.txt",))
        for split in ("train", "val", "test")
    ),
    # The test videos; into how many parts the copy of the training videos is cut is told nowhere but on its page.
    Asset(
        "DiDeMo_Videos_mp4_test.tar",
        "videos",
        (f"{HUB}/friedrichor/DiDeMo/resolve/main/DiDeMo_Videos_mp4_test.tar",),
    ),
)

# SHA-256 of the parts and of val_2.json: a public script that prepares val_2 from this copy of the hub.
ACTIVITYNET_PARTS = (
    "cb6ef6065e148e4474a933b7b8fe99d32fd83bcb0ce7b5c0db6be814c414e6de",
    "898b739030dd358ff2cfa1efbc41becda6995a84db5d6ec43f979dd7eea7ea36",
    "61d6b89c8a8332ea7c79a49848eca7053a2822086e8b36f4d9152fa4c81c3c16",
    "625ad53d4c65e82fc1d8fc1d9d0c72b051d982b7da070d1fad3f5f616f6179b2",
    "6b2fd3e8161417ae6c38c2a3d95c39048c0ab65ee6b1318c6b413e11535300c3",
    "c7e05a67c455b7c55cd364e65e4b47e10faba23e0372b777105243712a926069",
    "337d10d13afe293f0a4d9c3181c5c77934c2619a31351926eec3a1d0b54c6896",
    "3b09f19c849cc90c23e83c919af12436a357eb6bea431b4fa19d5b978ab383fe",
)
_ACTIVITYNET = f"{HUB}/friedrichor/ActivityNet_Captions/resolve/main"
ACTIVITYNET = (
    Asset("train.json", "annotations", (f"{_ACTIVITYNET}/raw_data/train.json",)),
    Asset("val_1.json", "annotations", (f"{_ACTIVITYNET}/raw_data/val_1.json",), splits=("val_1",)),
    Asset(
        "val_2.json",
        "annotations",
        (f"{_ACTIVITYNET}/raw_data/val_2.json",),
        sha256="08fe56568bc92dd02a6150fe1094457a5f2ac72975b8778a922bc9a65aa7f0e9",
        splits=("val_2",),
    ),
    # All three from their authors. SHA-256: a public benchmark's download script.
    Asset(
        "captions.zip",
        "annotations",
        ("https://cs.stanford.edu/people/ranjaykrishna/densevid/captions.zip",),
        sha256="7ed4f4d613d965683fbdbb9f01baad4fe2a439b99fc39cfd2f6fa6cf9201fd2b",
        optional=True,
    ),
    *(
        Asset(name, "videos", (f"{_ACTIVITYNET}/{name}",), sha256=checksum)
        for number, checksum in enumerate(ACTIVITYNET_PARTS)
        for name in [f"ActivityNet_Videos.tar.part-{number:03d}"]
    ),
)

VATEX = (
    Asset("descs_ret_test.json", "annotations", (f"{TRIANGLE}/vatex/descs_ret_test.json",)),
    *(
        Asset(name, "annotations", (f"https://eric-xw.github.io/vatex-website/data/{name}",), optional=True)
        for name in ("vatex_training_v1.0.json", "vatex_validation_v1.0.json")
    ),
)

CHARADES = (
    # Size and SHA-256: two public projects that fetched it, with the same result.
    Asset(
        "Charades.zip",
        "annotations",
        (f"{AI2}/Charades.zip", "http://ai2-website.s3.amazonaws.com/data/Charades.zip"),
        size=3_519_822,
        sha256="c616913ef79c2ddde06d9c562eae57bb8901d459d7568a0d27bf09cbf33ae866",
    ),
    Asset(
        "Charades_v1_480.zip",
        "videos",
        (f"{AI2}/Charades_v1_480.zip", "http://ai2-website.s3.amazonaws.com/data/Charades_v1_480.zip"),
    ),
)
