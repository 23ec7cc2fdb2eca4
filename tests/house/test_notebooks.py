"""The notebooks: what is committed is whole, small and nobody's own; and (slow) each of them runs."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import run_notebooks
from nbformat.validator import validate
from PIL import Image

NOTEBOOKS = run_notebooks.notebooks()
LARGEST = 300_000
#: Places on somebody's machine.
_PATHS = re.compile(r"(?<![\w./])/(?:home|root|tmp|work|Users|opt|var|usr)/\S+|[A-Z]:\\\\")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook: Any) -> list[str]:
    """All that readers see as text: sources, and outputs of every kind but pictures."""
    shown = [cell.source for cell in notebook.cells]
    for output in (output for cell in code_cells(notebook) for output in cell.outputs):
        shown.append(output.get("text", ""))
        shown += [str(data) for kind, data in output.get("data", {}).items() if not kind.startswith("image/")]
    return shown


def test_there_are_seven_and_the_list_names_them() -> None:
    assert [path.name[0] for path in NOTEBOOKS] == list("1234567")
    readme = (run_notebooks.FOLDER / "README.md").read_text()
    assert re.findall(r"\]\((\d_\w+\.ipynb)\)", readme) == [path.name for path in NOTEBOOKS]


@each_notebook
def test_what_is_committed_has_run(path: Path) -> None:
    notebook = run_notebooks.read(path)
    validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run it with `make notebooks`"
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert all(output.get("name") != "stderr" for output in outputs)
    assert sum(any(kind.startswith("image/") for kind in output.get("data", {})) for output in outputs) >= 2


@each_notebook
def test_what_is_committed_is_small_and_nobodys_own(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    notebook = run_notebooks.read(path)
    for text in texts(notebook):
        assert not _PATHS.search(text), text
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)


@each_notebook
def test_it_opens_with_what_the_reader_will_get(path: Path) -> None:
    opening = run_notebooks.read(path).cells[0]
    assert opening.cell_type == "markdown"
    assert re.match(r"# .+\n\nYou get ", opening.source)
    assert "pip install '.[notebooks]'" in opening.source


@each_notebook
def test_its_links_lead_somewhere(path: Path) -> None:
    for cell in run_notebooks.read(path).cells:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", cell.source if cell.cell_type == "markdown" else ""):
            assert (path.parent / target).exists(), target


def test_what_is_kept_is_tidied() -> None:
    """A drawing becomes a palette image, photos JPEG; logs, times and empty metadata go."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    drawing = np.where(noise[..., :1] < 40, np.uint8(0), np.uint8(255)).repeat(3, axis=2)
    outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="I0000 log"),
        nbformat.v4.new_output("stream", name="stdout", text="shown"),
        *(_picture(each) for each in (drawing, noise)),
    ]
    cell = nbformat.v4.new_code_cell("1", outputs=outputs, metadata={"execution": {"started": "now"}, "tags": ["a"]})
    notebook = run_notebooks.tidied(nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {}}))
    [kept] = notebook.cells
    assert kept.metadata == {"tags": ["a"]}
    assert [each.get("name") for each in kept.outputs] == ["stdout", None, None]
    assert [list(each.data) for each in kept.outputs[1:]] == [["image/png"], ["image/jpeg"]]
    png = Image.open(io.BytesIO(base64.b64decode(kept.outputs[1].data["image/png"])))
    assert png.mode == "P"
    np.testing.assert_array_equal(np.asarray(png.convert("RGB")), drawing)
    assert kept.outputs[2].metadata == {"image/jpeg": {"width": 150}}


def _picture(pixels: np.ndarray) -> Any:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": "<Figure>"}
    return nbformat.v4.new_output("display_data", data=data, metadata={"image/png": {"width": 150}})


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they all work: later ones use the file that the first one leaves."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.xdist_group("notebooks")
@each_notebook
def test_it_runs(path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, with Jupyter's own files elsewhere; each cell shows what kinds of things are committed."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, os.fspath(tmp_path / name.lower()))
    done, committed = run_notebooks.run(path, folder), run_notebooks.read(path)
    for cell, wanted in zip(code_cells(done), code_cells(committed), strict=True):
        assert cell.source == wanted.source
        assert _kinds(cell) == _kinds(wanted), cell.source
    for text in texts(done):
        assert not _PATHS.search(text), text


def _kinds(cell: Any) -> set[str]:
    """What a cell shows: text, a picture of either kind, another result."""
    kinds = set()
    for output in cell.outputs:
        pictures = any(kind.startswith("image/") for kind in output.get("data", {}))
        kinds.add("picture" if pictures else output.output_type)
    return kinds
