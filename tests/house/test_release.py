"""What keeps a tree from being released is named, and nothing else is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import release_check
from release_check import PLATFORMS, ROOT, problems, version_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree that can be released."""
    (tmp_path / "nq_tflite").mkdir()
    for name in ("nq_tflite/version.py", "CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path / name)
    changelog = tmp_path / "CHANGELOG.md"
    version = version_of(ROOT)
    changelog.write_text(
        re.sub(rf"^## {version} - \S+$", f"## {version} - 2026-12-01", changelog.read_text(), flags=re.M)
    )
    (tmp_path / "dist").mkdir()
    names = [f"{version}.tar.gz", *(f"{version}-py3-none-manylinux2014_{each}.whl" for each in PLATFORMS)]
    for name in names:
        (tmp_path / "dist" / f"nq_tflite-{name}").touch()
    return tmp_path


def test_a_tree_that_can_be_released(tree: Path) -> None:
    assert problems(tree) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("CHANGELOG.md", "2026-12-01", "unreleased", "is dated 'unreleased'; expected a day"),
        ("nq_tflite/version.py", '"0.', '"9.', "the newest entry is 0."),
        ("CITATION.cff", "version: 0.", "version: 8.", "version 8."),
    ],
)
def test_what_does_not_agree_is_named(tree: Path, file: str, old: str, new: str, words: str) -> None:
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new))
    assert any(words in line for line in problems(tree))


def test_a_missing_wheel_is_named(tree: Path) -> None:
    [wheel] = (tree / "dist").glob("*aarch64.whl")
    wheel.unlink()
    assert problems(tree) == [f"dist/{wheel.name} is missing; make wheels writes it"]


def test_the_wheels_are_those_of_the_makefile() -> None:
    [line] = re.findall(r"^WHEELS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert tuple(each.split(":")[0] for each in line.split()) == release_check.PLATFORMS
