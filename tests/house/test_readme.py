"""The README: what a newcomer does first, its numbers, and what the package index shows of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import PAGES, ROOT, blocks
from PIL import Image

from nq_tflite.errors import how_to_install

README, INDEX = ROOT / "README.md", ROOT / "docs" / "index.md"


@pytest.mark.parametrize("net", ["small", pytest.param("as printed", marks=pytest.mark.slow)])
def test_a_newcomer_ends_with_a_switched_model(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The block that needs nothing but itself, in an empty folder."""
    import keras

    monkeypatch.chdir(tmp_path)
    if net == "small":
        monkeypatch.setattr(keras.applications, "MobileNetV2", small_classifier)
    [code] = [each.text for each in blocks(README) if each.language == "python" and "keras.applications" in each.text]
    exec(compile(code, "README.md", "exec"), {})
    assert re.search(
        r"^\(1, 1000\) 5\n[1-9]\d* bytes in \d+\.\d\d ms, [1-9]\d* resident$", capsys.readouterr().out, re.M
    )


@pytest.mark.slow
def test_the_shell_block_runs_as_printed(tmp_path: Path) -> None:
    """In a folder with nothing but a model and photos; what it installs before has what the commands need."""
    small_classifier(None, (32, 32, 3)).save(tmp_path / "model.keras")
    (tmp_path / "photos").mkdir()
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 36, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
    [script] = [each.text for each in blocks(README) if each.language == "sh" and not each.mark]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "photos: -1..1, whole photos, 32 x 32 RGB" in done.stdout
    assert "the photos give values" not in done.stderr
    assert (tmp_path / "model.html").is_file()
    assert "pip install '.[convert,report]'" in README.read_text()


def small_classifier(weights: None, input_shape: tuple[int, ...]) -> Any:
    """In MobileNetV2's place: as many classes, two layers."""
    from keras import Input, Model, layers

    image = Input(input_shape)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(48, 3, strides=4, activation="relu")(image))
    return Model(image, layers.Dense(1000)(x))


def test_the_first_lines_are_those_of_the_site() -> None:
    """Which run there; the README says more in its comments."""
    first, second = (next(each for each in blocks(page) if each.language == "python") for page in (README, INDEX))
    assert _without_comments(first.text) == _without_comments(second.text)


def _without_comments(code: str) -> str:
    return re.sub(r"  # .*$", "", code, flags=re.MULTILINE)


def test_ci_runs_the_readmes_command() -> None:
    shell = "".join(each.text for each in blocks(README) if each.language == "sh")
    assert re.search(r"^make demo .*\nmake test ", shell, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def rows(text: str) -> dict[str, list[str]]:
    """Cells of every table row by the row's name; of several tables with that name, all."""
    found: dict[str, list[str]] = {}
    for line in re.findall(r"^\|(.*)\|$", text.replace("\\|", "&"), re.MULTILINE):
        name, *cells = (cell.strip() for cell in line.split("|"))
        found.setdefault(name, []).extend(cells)
    return found


def test_numbers_are_those_of_the_benchmarks() -> None:
    """Which name the commands that print them."""
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    [short] = re.findall(r"## In short\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    assert rows(README.read_text()) == rows(short) != {}


def test_the_readme_stays_short() -> None:
    assert len(README.read_text().splitlines()) <= 100


def test_the_package_index_shows_no_link_that_leads_nowhere() -> None:
    """Neither the repository's pictures nor its pages are there."""
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "--long-description"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("# nq_tflite\n")
    assert "<picture" not in done.stdout
    assert not re.search(r"\]\((?!https?:)", done.stdout)
    assert "[FORMAT.md]" not in done.stdout
    assert "FORMAT.md" in done.stdout


def test_nobody_is_sent_to_the_package_index() -> None:
    """Which has no nq-tflite yet: every line that installs takes a clone or a wheel, and errors say both."""
    texts = [*PAGES, *ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("nq_tflite/**/*.py"), *ROOT.glob("models/**/*.py")]
    assert [path.name for path in texts if re.search(r"pip install '?nq[-_]tflite\[", path.read_text())] == []
    assert "'.[litert]' in a clone" in how_to_install("litert")
    assert "'<wheel>.whl[litert]'" in how_to_install("litert")
