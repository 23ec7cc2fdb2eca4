"""Imports flow one way: a module may import only from lower layers (CONTRIBUTING.md has the picture)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nq_tflite

PACKAGE = Path(nq_tflite.__file__).parent

#: From the lowest layer up; modules of one layer may not import each other, those of one room (package) may.
LAYERS: list[set[str]] = [
    {"errors", "progress", "records", "units", "version"},
    {"files"},
    {"format"},
    {"device"},
    {"delivery"},
    {"graph"},
    {"govern"},
    {"conversion"},
    {"measure"},
    {"plot"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
#: Third-party packages that only these rooms may import.
OWNERS = {
    "tensorflow": {"conversion"},
    "keras": {"conversion"},
    "flatbuffers": {"graph", "conversion"},
    "bitarray": {"format"},
    "matplotlib": {"plot"},
    "jinja2": {"plot"},
    "click": {"cli", "__main__"},
    "rich": {"cli", "__main__"},
    "PIL": {"measure"},
    "psutil": {"govern"},
    "threadpoolctl": {"conversion"},
    "nq_tflite_models": {"measure"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names that a module imports, wherever the statement stands, TYPE_CHECKING blocks left out."""
    names: set[str] = set()
    for node in ast.walk(_without_type_checking(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _without_type_checking(tree: ast.Module) -> ast.Module:
    def is_guard(node: ast.stmt) -> bool:
        return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"

    tree.body = [node for node in tree.body if not is_guard(node)]
    return tree


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_flow_down(path: Path) -> None:
    here = room(path)
    assert here in RANK, f"{here} has no layer: add it to LAYERS"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "nq_tflite":
            there = parts[1] if len(parts) > 1 and parts[1] in RANK else "__init__"
            assert there == here or RANK[there] < RANK[here], f"{here} imports {there}, which is not below it"
        elif parts[0] in OWNERS:
            assert here in OWNERS[parts[0]], f"{here} imports {parts[0]}, which belongs to {OWNERS[parts[0]]}"


def test_no_cycle_can_hide_in_a_layer() -> None:
    assert len(RANK) == sum(map(len, LAYERS)), "a module stands in two layers"
