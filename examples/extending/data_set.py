"""A data set with annotations of its own kind: python examples/extending/data_set.py VIDEOS ANNOTATIONS OUT.

ANNOTATIONS has a line a caption: `split|file|caption`. What becomes of it is a manifest, which everything else reads.
"""

import sys
from collections import defaultdict
from pathlib import Path

from tvrkit.manifest import Manifest, Record, write_manifest


def read(videos: Path, annotations: Path) -> Manifest:
    """One record a video, with all of its captions."""
    captions = defaultdict(list)
    for number, line in enumerate(annotations.read_text(encoding="utf-8").splitlines(), start=1):
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 3 or not all(parts):
            sys.exit(f"{annotations}, line {number}: needs split|file|caption, and is {line!r}.")
        captions[parts[0], parts[1]].append(parts[2])
    if lost := [file for _, file in captions if not (videos / file).is_file()]:
        sys.exit(f"{len(lost)} videos are not in {videos}: {', '.join(lost[:3])}.")
    records = [
        Record(video_id=Path(file).stem, path=str((videos / file).resolve()), split=split, captions=tuple(texts))
        for (split, file), texts in captions.items()
    ]
    return Manifest(name="mine", records=tuple(records))


if __name__ == "__main__":
    manifest = read(Path(sys.argv[1]), Path(sys.argv[2]))
    out = Path(sys.argv[3])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(manifest, out)
    print(f"{len(manifest.records)} videos: tvrkit train --data {out}")
