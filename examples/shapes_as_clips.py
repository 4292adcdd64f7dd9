"""Clips and a caption file to try things on, out of the built-in benchmark: run it after `tvrkit prepare shapes`."""

import csv
import shutil
from pathlib import Path

from tvrkit.manifest import read_manifest

manifest = read_manifest("data/shapes/manifest.jsonl")
Path("clips").mkdir()
with open("captions.csv", "w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(("path", "caption", "split"))
    for split, count in (("train", 600), ("val", 100), ("test", 100)):
        for record in manifest.split(split)[:count]:
            clip = shutil.copy(manifest.file_of(record), "clips")
            rows.writerow((Path(clip).name, record.captions[0], split))
