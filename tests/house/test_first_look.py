"""What Python and a notebook show of the package and of its reports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nq_tflite as nq
from nq_tflite.graph.inspection import inspect_file
from nq_tflite.units import html_view


def test_tab_offers_the_public_names_alone() -> None:
    """Also those whose modules nobody has imported yet."""
    code = "import nq_tflite as nq; print(*dir(nq))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == sorted(nq.__all__)


def test_reports_in_words_and_in_a_notebook(nested_dir: Path, int8_tflite: bytes, tmp_path: Path) -> None:
    inspected = inspect_file(nested_dir / "int8_8_5.tflite")
    assert str(inspected).startswith(f"{inspected.path}: ")
    converted = nq.convert(int8_tflite, tmp_path / "out.tflite", rounding="squant")
    assert "5 bits (part): agreement " in str(converted)
    for report in (inspected, converted):
        assert len(str(report)) < 2000
        page = report._repr_html_()
        assert page.startswith("<p>")
        assert page.count("<tr>") == 1 + len(report.weights)
        assert "dB at 5 bits" in page
    switch = nq.Switch(5, 8, bytes_in=1_310_000, bytes_out=0, seconds=6e-5, deferred=False)
    assert str(switch) == "5 to 8 bits: 1.31 MB paged in, 0.06 ms"
    assert str(nq.Switch(8, 5, 0, 4_130, 6e-5, True)).startswith("8 to 5 bits: 4.1 kB to be released when")
    assert switch._repr_html_() == f"<p>{switch}</p>"


def test_names_from_files_are_text_on_a_page() -> None:
    assert "<script>" not in html_view(["<script>"], ["<script>"], [["<script>"]])


def test_a_citation_has_this_version() -> None:
    text = (Path(__file__).parents[2] / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {nq.__version__}\n" in text
