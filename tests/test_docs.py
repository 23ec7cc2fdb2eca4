"""Every recipe in docs/: the Python blocks run, one after the other, in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nq_tflite as nq

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: str, language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL))


def test_recipes_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("models.md", "python"), "models.md", "exec"), {})
    written = sorted(path.name for path in tmp_path.glob("*.tflite"))
    assert written == ["doubled.tflite", "loop.tflite", "several.tflite", "unrolled.tflite"]


def run_in_own_environment(language: str, packages: list[str], folder: Path) -> None:
    """Runs a recipe in a virtual environment of its packages, which want another NumPy than tflite-runtime."""
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=120)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, timeout=900)
    (folder / "recipe.py").write_text(blocks("models.md", f"python {language}"))
    subprocess.run([python, "recipe.py"], cwd=folder, check=True, timeout=300)


@pytest.mark.recipe
def test_jax_recipe(tmp_path: Path) -> None:
    run_in_own_environment("jax", ["tensorflow>=2.16", "jax", "jaxlib"], tmp_path)
    samples = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype(np.float32)
    for data in (None, samples):
        report = nq.convert(tmp_path / "jax_saved", tmp_path / "model.tflite", representative_data=data)
        assert "CONV_2D" in {weight.operator for weight in report.weights}


@pytest.mark.recipe
def test_torch_recipe(tmp_path: Path) -> None:
    run_in_own_environment("torch", ["torch==2.13.0", "litert-torch"], tmp_path)
    report = nq.convert(tmp_path / "torch.tflite", tmp_path / "model.tflite")
    assert [weight.operator for weight in report.weights] == ["CONV_2D", "CONV_2D", "FULLY_CONNECTED"]
