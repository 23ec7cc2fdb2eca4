"""The directive `c-header`: names of nq.h as reference, from their declarations and the comments above these.

    ```{c-header} nq_session_open nq_session_close
    ```

A name that the header lacks is a warning, and so is one of the header's that no page shows.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

HEADER = Path(__file__).resolve().parents[2] / "custom_ops" / "include" / "nq.h"
_COMMENT = re.compile(r"/\*(.*?)\*/", re.DOTALL)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A comment and what is declared under it.

    Attributes:
        names: functions, objects, or the type.
        comment: its text on one line; "" without one.
        code: as it stands, without the comment.
    """

    names: tuple[str, ...]
    comment: str
    code: str

    @property
    def is_type(self) -> bool:
        return "NQ_EXPORT" not in self.code

    def markup(self) -> list[str]:
        """What Sphinx shows of it."""
        if self.is_type:
            code = ["", "   .. code-block:: c", "", *(f"      {line}" for line in self.code.splitlines())]
            kind = "macro" if self.code.startswith("enum {") else "type"
            return [f".. c:{kind}:: {self.names[0]}", "", f"   {self.comment}", *code, ""]
        signatures = [" ".join(part.split()) for part in self.code.split(";") if "NQ_EXPORT" in part]
        shown = [each.replace("NQ_EXPORT ", "").replace("extern ", "") for each in signatures]
        kind = "function" if shown[0].endswith(")") else "var"
        first = f".. c:{kind}:: "
        rest = [" " * len(first) + each for each in shown[1:]]
        return [first + shown[0], *rest, "", f"   {self.comment}", ""]


@cache
def read_header() -> tuple[Entry, ...]:
    """The header's entries in order, without what is for the preprocessor."""
    text = HEADER.read_text()
    body = text[text.index("/* A handle;") : text.rindex("#ifdef __cplusplus")]
    pieces = [piece for chunk in body.split("\n\n") for piece in re.split(r"^(?=/\*)", chunk, flags=re.MULTILINE)]
    return tuple(_entry(piece.strip()) for piece in pieces if piece.strip())


def _entry(piece: str) -> Entry:
    comment = _COMMENT.match(piece)
    code = piece[comment.end() :].strip() if comment else piece
    bare = _COMMENT.sub("", code)
    names = re.findall(r"(\w+)\(", bare.replace("(*report_error)(", "")) or re.findall(r"(\w+)(?:;| = 1u)", bare)[-1:]
    text = re.sub(r"\n \* ?", " ", comment[1]) if comment else ""
    return Entry(tuple(names), " ".join(text.split()), code)


class CHeader(SphinxDirective):
    """Shows the entries that declare the names given."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        wanted = self.arguments[0].split()
        shown = [entry for entry in read_header() if set(entry.names) & set(wanted)]
        if missing := set(wanted).difference(*(entry.names for entry in shown)):
            _log.warning("%s does not declare %s", HEADER.name, ", ".join(sorted(missing)))
        _documented(self.env).setdefault(self.env.docname, set()).update(n for entry in shown for n in entry.names)
        self.env.note_dependency(str(HEADER))
        lines = [line for entry in shown for line in entry.markup()]
        return self.parse_text_to_nodes("```{eval-rst}\n" + "\n".join(lines) + "\n```")


def _documented(env: Any) -> dict[str, set[str]]:
    if not hasattr(env, "nq_documented"):
        env.nq_documented = {}
    return env.nq_documented


def _check_all_shown(app: Sphinx, env: Any) -> None:
    shown = set().union(*_documented(env).values())
    if hidden := [name for entry in read_header() for name in entry.names if name not in shown]:
        _log.warning("no page shows these of %s: %s", HEADER.name, ", ".join(hidden))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("c-header", CHeader)
    app.connect("env-check-consistency", _check_all_shown)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
