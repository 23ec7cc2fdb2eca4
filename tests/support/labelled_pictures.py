"""Folders and zip files of small pictures with a table of labels."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

NUM_PICTURES, NUM_CLASSES = 30, 10


def write_pictures(folder: Path, count: int = NUM_PICTURES, seed: int = 1) -> Path:
    """Pictures of 20 x 18 in a folder of that one, and their table."""
    rng = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True)
    rows = ["file,label"]
    for number in range(count):
        coarse = rng.integers(0, 256, (5, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((20, 18)).save(folder / f"pictures/{number:02}.png")
        rows.append(f"pictures/{number:02}.png,{rng.integers(NUM_CLASSES)}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pictures/", "")
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path
