"""Runs notebooks from a clean kernel each; `make notebooks` keeps what they show in place.

What is kept is made small and the same for everyone: no times, no log of tensorflow's start, figures as palette images
(a third of the bytes) and those that show photos as JPEG.
"""

from __future__ import annotations

import base64
import io
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
#: Seconds for one cell; the longest, which compares rounding methods, takes five minutes beside another test.
TIMEOUT = 900
#: A drawing has fewer colours than this, those of its antialiased edges included; a row of photos has many more.
_DRAWING_COLOURS = 30_000


def notebooks() -> list[Path]:
    """In reading order."""
    return sorted(FOLDER.glob("[0-9]_*.ipynb"))


def read(path: Path) -> Any:
    """A notebook as nbformat has it."""
    return nbformat.read(path, as_version=4)


def run(path: Path, folder: Path) -> Any:
    """Runs a notebook with `folder` as its working folder.

    Raises:
        CellExecutionError: a cell failed.
        CellTimeoutError: a cell took too long.
    """
    notebook = read(path)
    options = {"timeout": TIMEOUT, "kernel_name": "python3", "record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **options).execute()
    return tidied(notebook)


def tidied(notebook: Any) -> Any:
    """Without what differs from run to run for no reason, and with small figures."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
            for output in cell.outputs:
                output.pop("metadata", None) if output.output_type == "stream" else _shrink(output)
    return notebook


def _shrink(output: Any) -> None:
    data = output.get("data", {})
    if "image/png" not in data:
        return
    output.data.pop("text/plain", None)
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
    kept = io.BytesIO()
    if image.getcolors(_DRAWING_COLOURS) is None:
        image.save(kept, "JPEG", quality=75)
        output.metadata["image/jpeg"] = output.metadata.pop("image/png", {})
        del data["image/png"]
        data["image/jpeg"] = base64.b64encode(kept.getvalue()).decode()
        return
    image.quantize(64, dither=Image.Dither.NONE).save(kept, "PNG", optimize=True)
    data["image/png"] = base64.b64encode(kept.getvalue()).decode()


def main(names: list[str]) -> None:
    """Runs the notebooks whose names start so, all of them for none, and writes them back."""
    for path in notebooks():
        if names and not path.name.startswith(tuple(names)):
            continue
        started = time.monotonic()
        nbformat.write(run(path, FOLDER), path)
        print(f"{path.name}: {time.monotonic() - started:.0f} s, {path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
