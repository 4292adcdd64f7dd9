"""What `tvrkit doctor` looks at: each check does the real thing in small, and a fault becomes a row with advice."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tvrkit.cli.failures import explain, mend_torch, pip_install
from tvrkit.workspace import cache_folder

HUB_TIMEOUT_SECONDS = 4.0
OPTIONAL = ("reader decord", "key words", "model hub", "extra tensorboard", "extra wandb", "extra hf")
LEAST_FREE_GB, GOOD_FREE_GB = 1.0, 5.0

State = Literal["ok", "absent", "warning", "failed"]


@dataclass(frozen=True)
class Check:
    """One row: what was looked at, how it stands, what was found, and what to do if that is not good."""

    name: str
    state: State
    found: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """As JSON wants it."""
        return asdict(self)


def run_checks() -> list[Check]:
    """All checks, in the order in which one builds on the other. None of them raises."""
    with tempfile.TemporaryDirectory(prefix="tvrkit-doctor-") as folder:
        clip = Path(folder) / "clip.mp4"
        steps: list[tuple[str, Callable[[], Check]]] = [
            ("python", check_python),
            ("torch", check_torch),
            ("torchvision", check_torchvision),
            ("open_clip", check_open_clip),
            ("built-in files", check_built_in),
            ("video encoder", lambda: check_encoder(clip)),
            ("reader av", lambda: check_reader("av", clip)),
            ("reader decord", lambda: check_reader("decord", clip)),
            ("key words", check_tagger),
            ("this folder", lambda: check_folder("this folder", Path.cwd(), "work in another folder")),
            ("cache", lambda: check_folder("cache", cache_folder(), "set TVRKIT_CACHE to another folder")),
            ("model hub", check_hub),
            ("extra tensorboard", lambda: check_extra("tensorboard", "tensorboard", "curves of training runs")),
            ("extra wandb", lambda: check_extra("wandb", "wandb", "runs in Weights & Biases")),
            ("extra hf", lambda: check_extra("hf", "transformers", "backbones with other tokenizers (SigLIP, …)")),
        ]
        return [_guarded(name, step) for name, step in steps]


def _guarded(name: str, step: Callable[[], Check]) -> Check:
    try:
        return step()
    except Exception as error:  # whatever is broken here is exactly what the user wants to read about
        what = " ".join(str(error).split()) or type(error).__name__
        return Check(name, "warning" if name in OPTIONAL else "failed", what, explain(error))


def check_python() -> Check:
    """Python's version and the machine."""
    found = f"{platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if sys.version_info < (3, 10):  # noqa: UP036 - somebody may have forced pip
        return Check("python", "failed", found, "tvrkit needs Python 3.10 or newer.")
    return Check("python", "ok", found)


def check_torch() -> Check:
    """Torch computes on every device that it names."""
    import torch

    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    words = []
    for device in devices:
        identity = torch.eye(8, device=device)
        if not torch.equal(identity @ identity, identity):
            return Check("torch", "failed", f"{torch.__version__} computes wrongly on {device}", f"run {mend_torch()}")
        words.append(f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device)
    found = f"{torch.__version__} on {', '.join(words)}"
    if len(devices) == 1 and shutil.which("nvidia-smi"):
        advice = "this machine has NVIDIA tools but torch sees no GPU: its driver may be older than this torch's CUDA"
        return Check("torch", "warning", found, f"{advice} ({torch.version.cuda or 'a CPU build'}).")
    return Check("torch", "ok", found)


def check_torchvision() -> Check:
    """Torchvision fits torch: it loads, and its compiled operators answer."""
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5)
    if kept.tolist() != [0]:
        return Check("torchvision", "failed", f"{torchvision.__version__} computes wrongly", f"run {mend_torch()}")
    return Check("torchvision", "ok", torchvision.__version__)


def check_open_clip() -> Check:
    """open_clip loads and knows models."""
    import open_clip

    version = importlib.metadata.version("open_clip_torch")
    return Check("open_clip", "ok", f"{version}, {len(open_clip.list_models())} models by name")


def check_built_in() -> Check:
    """The files that came with the package."""
    from tvrkit.config import preset_names

    weights = Path(__file__).parents[1] / "assets" / "shapes" / "model.safetensors"
    if not weights.is_file() or not preset_names():
        advice = f"the package is incomplete; run {pip_install('--force-reinstall --no-deps tvrkit')}"
        return Check("built-in files", "failed", f"{weights} or the presets are missing", advice)
    return Check("built-in files", "ok", f"weights of the shapes model, {len(preset_names())} presets")


def check_encoder(clip: Path) -> Check:
    """Write a clip of one second, each frame brighter than the one before; the readers' checks read it."""
    import av
    import numpy as np

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for i in range(24):
            grey = np.full((64, 64, 3), 20 + 8 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return Check("video encoder", "ok", f"av {av.__version__}, {codec}, {clip.stat().st_size} bytes for a second")


def check_reader(reader: str, clip: Path) -> Check:
    """Four frames of the clip through tvrkit's own reading, in their order and as bright as they were written."""
    from tvrkit.frames.reader import FrameRequest, read_frames

    name = f"reader {reader}"
    if importlib.util.find_spec(reader) is None:
        if reader == "decord":
            return Check(name, "absent", "not installed (there are no wheels for some machines); av reads everything")
        return Check(name, "failed", "not installed", f"run {pip_install(reader)}")
    frames = read_frames(FrameRequest(str(clip), num_frames=4), reader=reader, timeout_seconds=30.0)
    brightness = frames.data.mean(axis=(1, 2, 3))
    wanted = 20 + 8 * (frames.pts_seconds * 24).round()
    if len(brightness) != 4 or abs(brightness - wanted).max() > 4:
        state: State = "warning" if name in OPTIONAL else "failed"
        return Check(name, state, "returns other frames than were written", f"run {pip_install(f'--upgrade {reader}')}")
    return Check(name, "ok", f"{importlib.metadata.version(reader)}, 4 frames at the right times")


def check_tagger() -> Check:
    """The part-of-speech tagger works without a download."""
    from tvrkit.keywords import TAGGER, tag_key_words

    caption = "a dog is surfing on the big wave"
    words = [caption[start:end] for start, end in tag_key_words([caption])[0]]
    if words != ["dog", "surfing", "big", "wave"]:
        return Check("key words", "warning", f"{TAGGER} found {words}", f"run {pip_install('--upgrade textblob')}")
    return Check("key words", "ok", TAGGER)


def check_folder(name: str, folder: Path, way_out: str) -> Check:
    """A folder can be written to and has room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"tvrkit")
    except OSError as error:
        return Check(name, "failed", f"{folder}: {error.strerror}", f"make it writable, or {way_out}.")
    free = shutil.disk_usage(folder).free / 1e9
    found = f"{folder}, {free:.0f} GB free" if free >= 1 else f"{folder}, {free:.2f} GB free"
    if free < LEAST_FREE_GB:
        return Check(name, "failed", found, f"free some space, or {way_out}.")
    if free < GOOD_FREE_GB:
        return Check(name, "warning", found, f"pretrained models and caches take some GB: free space, or {way_out}.")
    return Check(name, "ok", found)


def check_hub() -> Check:
    """The hub that pretrained weights are fetched from answers; tvrkit works without it."""
    from huggingface_hub import constants

    advice = (
        "pretrained weights cannot be fetched from here; what is cached, exported folders and local weights files"
        " work as they do everywhere."
    )
    if constants.HF_HUB_OFFLINE:
        return Check("model hub", "warning", "switched off by HF_HUB_OFFLINE", advice)
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # it answered
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Check("model hub", "warning", f"{constants.ENDPOINT} does not answer ({reason})", advice)
    return Check("model hub", "ok", f"{constants.ENDPOINT} answers")


def check_extra(extra: str, package: str, what: str) -> Check:
    """A package that is needed only for something particular."""
    if importlib.util.find_spec(package) is None:
        install = pip_install(f'"tvrkit[{extra}]"')
        return Check(f"extra {extra}", "absent", f"not installed; it brings {what}", f"if you want it, run {install}")
    return Check(f"extra {extra}", "ok", f"{package} {importlib.metadata.version(package)}: {what}")
