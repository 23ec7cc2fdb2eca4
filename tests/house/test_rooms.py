"""The rooms of the package: imports flow one way, no room has a circle, and CONTRIBUTING.md draws what is there."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from pages import ROOT

import nq_tflite

PACKAGE = Path(nq_tflite.__file__).parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

#: What an inner room may import of the room around it, besides itself: nothing, or everything.
INNER = {
    "conversion.rounding": False,
    "conversion.rounding.baselines": True,
    "conversion.sources": False,
    "plot.page": True,
}
#: Rooms that users import from by their names; the others' `__init__` is one line of documentation.
FACES = {"cli", "conversion.rounding", "conversion.rounding.baselines", "delivery", "govern", "plot"}
#: Third-party packages, and the modules or rooms that alone may import them.
OWNERS = {
    "tensorflow": {"conversion.sources.keras_export"},
    "keras": {"conversion.sources.keras_export"},
    "flatbuffers": {"graph.flatbuffer", "conversion.insert_unpack"},
    "bitarray": {"format.bitview"},
    "matplotlib": {"plot"},
    "jinja2": {"plot.page"},
    "click": {"cli", "__main__"},
    "rich": {"cli", "__main__", "progress"},
    "PIL": {"measure.preprocessing"},
    "psutil": {"govern"},
    "distributed": {"measure.workers"},
    "threadpoolctl": {"conversion.trial"},
    "nq_tflite_models": {"measure.demo"},
}


def chain() -> dict[str, float]:
    """Each room, and each module of the package itself, with its place in the chain that CONTRIBUTING.md shows."""
    [text] = re.findall(r"^(errors .* < .*)$", PAGE, re.MULTILINE)
    ranks = {name: rank for rank, part in enumerate(text.split(" < ")) for name in re.findall(r"\w+", part)}
    # `import nq_tflite` is a user's door: it stands above what it offers at once, and below what measures it.
    return ranks | {"__init__": ranks["conversion"] + 0.5, "__main__": len(ranks)}


RANK = chain()


def modules() -> dict[str, Path]:
    """Dotted names below the package; the `__init__` of a room has the room's name."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


MODULES = modules()


def imported(path: Path, *, at_once: bool = False) -> set[str]:
    """Dotted names that a module imports: wherever the statement stands, or only when the module is imported.

    TYPE_CHECKING blocks are left out.
    """
    names: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not _is_type_checking(node)]
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def own(name: str) -> str | None:
    """The module of this package that an imported name is or is in; None for other packages."""
    head, _, rest = name.partition(".")
    if head != "nq_tflite":
        return None
    while rest and rest not in MODULES:
        rest = rest.rpartition(".")[0]
    return rest or "__init__"


@pytest.mark.parametrize("module", MODULES)
def test_imports_flow_one_way(module: str) -> None:
    room = module.partition(".")[0]
    for name in imported(MODULES[module]):
        target = own(name)
        if target is None:
            owners = OWNERS.get(name.partition(".")[0])
            assert owners is None or any(f"{module}.".startswith(f"{each}.") for each in owners), (
                f"{module} imports {name}, which belongs to {owners}"
            )
        elif target.partition(".")[0] != room:
            there = target.partition(".")[0]
            assert RANK[there] < RANK[room], f"{module} imports {target}, whose room is not to the left of its own"


@pytest.mark.parametrize(("inner", "may_import"), INNER.items())
def test_inner_rooms_import_the_outer_one_or_are_imported_by_it(inner: str, may_import: bool) -> None:
    outer = inner.rpartition(".")[0]
    for module, path in MODULES.items():
        if not f"{module}.".startswith(f"{outer}."):
            continue
        is_inside = f"{module}.".startswith(f"{inner}.")
        for target in filter(None, map(own, imported(path))):
            if f"{target}.".startswith(f"{inner}."):
                assert is_inside or not may_import, f"{module} imports {target} of an inner room that builds on it"
            elif is_inside and f"{target}.".startswith(f"{outer}."):
                assert may_import, f"{module} imports {target} of the room around it"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module: set(map(own, imported(path, at_once=True))) - {None} for module, path in MODULES.items()}
    TopologicalSorter({module: targets - FACES - {"__init__"} for module, targets in graph.items()}).prepare()


@pytest.mark.parametrize("room", sorted({path.parent for path in MODULES.values()} - {PACKAGE}), ids=lambda p: p.name)
def test_a_rooms_init_is_one_line_unless_users_import_from_it(room: Path) -> None:
    text = (room / "__init__.py").read_text(encoding="utf-8")
    if ".".join(room.relative_to(PACKAGE).parts) not in FACES:
        [docstring] = ast.parse(text).body
        assert isinstance(docstring, ast.Expr)
        assert len(text.splitlines()) == 1
    else:
        assert "import" in text


def test_no_room_takes_a_public_functions_name() -> None:
    """Importing a submodule sets it as an attribute of the package, in a function's place."""
    assert not set(nq_tflite.__all__) & {module.partition(".")[0] for module in MODULES}


def test_contributing_names_every_room_and_file() -> None:
    """Rows such as "| `format/` | what | `affine`, `biases` |", in the order of the chain."""
    rows = re.findall(r"^\| `?(\(root\)|[\w/]+/)`? \| .* \| ([`\w, ]+) \|$", PAGE, re.MULTILINE)
    written = {room: re.findall(r"\w+", files) for room, files in rows}
    found: dict[str, list[str]] = {}
    for path in MODULES.values():
        room = "/".join(path.relative_to(PACKAGE).parts[:-1])
        if path.name != "__init__.py":
            found.setdefault(f"{room}/" if room else "(root)", []).append(path.stem)
    assert written == found
