"""What the documentation says, run: the README's Python, its commands, and the links between pages."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
RASPBERRY_PI = ROOT / "docs" / "raspberry_pi.md"
ANDROID = ROOT / "custom_ops" / "android" / "README.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), ROOT / "models" / "README.md", ANDROID]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_quickstart_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All Python blocks, one after the other, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks("python"))
    assert "nq.convert(" in code
    assert "nq.Interpreter(" in code
    exec(compile(code, "README.md", "exec"), {})


def test_the_boards_example_runs(
    nested_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(nested_dir / "int8_8_5.tflite", "model.tflite")
    [code] = blocks("python", RASPBERRY_PI.read_text())
    exec(compile(code, RASPBERRY_PI.name, "exec"), {})
    assert re.fullmatch(r"0\.\d\d MB in \d+\.\d\d ms; 0\.\d\d MB held\n", capsys.readouterr().out)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name} names make {target}"
    for module in re.findall(r"python -m (nq_tflite_models\.\w+)", page.read_text()):
        assert importlib.util.find_spec(module), f"{page.name} names {module}"


def test_ci_runs_the_readmes_command() -> None:
    assert re.search(r"^make demo .*\nmake test ", "".join(blocks("sh")), re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
