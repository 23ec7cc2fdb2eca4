"""Docstrings and help texts as this project writes them, in what Sphinx makes of them."""

import re
from typing import Any

from sphinx.application import Sphinx

_ONE_LINE = {"attribute", "data", "property"}
_TYPE = ":type: "


def _one_line(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in an attribute's first line for its type: ours has none there."""
    if what not in _ONE_LINE:
        return
    for index, line in enumerate(lines):
        if line.startswith(_TYPE):
            del lines[index]
            lines[0] = f"{line.removeprefix(_TYPE)}: {lines[0]}"
            return


def _examples(app: Sphinx, ctx: Any, lines: list[str]) -> None:
    """An epilog's examples are commands, and the lines below them prose."""
    shown, in_examples = [], False
    for line in (each.removeprefix("| ") for each in lines):
        if line.startswith("Examples:"):
            shown += ["Examples:", "", ".. code-block:: sh", ""]
            in_examples = True
        elif in_examples and line.startswith("  "):
            shown.append(f"   {line.strip()}")
        else:
            in_examples = in_examples and not line.strip("| ")
            shown.append(re.sub(r"([*|])", r"\\\1", line.strip("| ")))
    lines[:] = shown


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _one_line, priority=600)  # after napoleon
    app.connect("sphinx-click-process-epilog", _examples)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
