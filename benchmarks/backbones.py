"""What a backbone costs: parameters, file size, and CPU seconds for a frame and for a query, with random weights.

One thread, batches of 4 frames, the least of several tries of process time: on a shared machine read them as ratios.
Beside it, for RESULTS.md, open_clip's own `encode_image` and `encode_text` on the same weights.
The table in docs/backbones.md is `python benchmarks/backbones.py --all`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import torch
from timing import row

from tvrkit.core.backbone import build_backbone

SMALL = ("PE-Core-T-16-384",)
ALL = (
    "PE-Core-T-16-384",
    "PE-Core-S-16-384",
    "PE-Core-B-16",
    "ViT-B-32",
    "ViT-B-16",
    "MobileCLIP2-S0",
    "MobileCLIP2-S2",
)
FRAMES = 4


def seconds(functions: Mapping[str, Callable[[], object]], tries: int) -> dict[str, list[float]]:
    """CPU seconds of each call of each function, in turn, after one to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(tries + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if turn:
                taken[name].append(time.process_time() - start)
    return taken


@torch.inference_mode()
def measure(name: str, tries: int) -> list[str]:
    """One row of the table."""
    backbone = build_backbone(name, None, max_words=77)
    vision = sum(parameter.numel() for parameter in backbone.vision_parameters())
    both = sum(parameter.numel() for parameter in backbone.clip.parameters())
    size = backbone.preprocess_cfg["size"]
    height, width = (size, size) if isinstance(size, int) else size
    pixels = torch.randn(FRAMES, 3, height, width)
    tokens = backbone.tokenizer(["a dog surfing on a big wave"])
    padded = torch.nn.functional.pad(tokens.ids, (0, backbone.context_length - tokens.ids.shape[1]))
    ways: dict[str, Callable[[], object]] = {
        "frame": lambda: backbone.encode_images(pixels),
        "query": lambda: backbone.encode_text(tokens),
        "encode_image": lambda: backbone.clip.encode_image(pixels, normalize=True),
        "encode_text": lambda: backbone.clip.encode_text(padded, normalize=True),
    }
    taken = seconds(ways, tries)
    for what, rival in (("frame", "encode_image"), ("query", "encode_text")):
        note = "CPU seconds" + (
            f" of {FRAMES} frames" if what == "frame" else ", words' features too; the rival's is padded"
        )
        row(f"{name}, a {what}", f"open_clip's {rival}", taken[what], taken[rival], note=note)
    frame, query = min(taken["frame"]) / FRAMES, min(taken["query"])
    parameters = f"{vision / 1e6:.1f} + {(both - vision) / 1e6:.1f}"
    return [name, parameters, f"{both * 4 / 1e6:.0f}", str(width), f"{frame:.2f}", f"{query:.2f}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=SMALL, help="open_clip names")
    parser.add_argument("--all", action="store_true", help="those of docs/backbones.md")
    parser.add_argument("--tries", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| backbone | parameters (image + text), M | fp32 MB | px | CPU s a frame | CPU s a query |")
    print("|---|---|---|---|---|---|")
    for name in ALL if options.all else options.names:
        print(f"| {' | '.join(measure(name, options.tries))} |", flush=True)


if __name__ == "__main__":
    main()
