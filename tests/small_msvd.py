"""A small MSVD: six videos in the field's own formats, and videos under whatever names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

TRAIN, VAL, TEST = ("a_0_5", "b_1_9", "c_2_4"), ("d_0_5",), ("e_1_2", "f_3_9")


def write_lists(folder: Path) -> Path:
    """Captions and the lists of the splits."""
    folder.mkdir(parents=True)
    for split, ids in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        (folder / f"{split}_list.txt").write_text("\n".join(ids) + "\n")
    captions = {video_id: [f"a dog {video_id}", "a dog runs"] for video_id in (*TRAIN, *VAL, *TEST)}
    (folder / "captions_msvd.json").write_text(json.dumps(captions))
    return folder


def put(clip: Path, folder: Path, *names: str) -> Path:
    """Copies of a clip in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / name)
    return folder
