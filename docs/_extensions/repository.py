"""Pages that stand elsewhere in the repository, where people who browse it look for them.

A page that is the one line `% mirror: ../CHANGELOG.md` shows that file. Links between the repository's files lead to
the site's pages of them; a link to a file that has no page becomes a download, one to a folder its text.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

_MIRROR = re.compile(r"^% mirror: (\S+)$")
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<path>(?!https?:|mailto:|#)[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def mirrors(docs: Path) -> dict[Path, Path]:
    """The page of each file that has one, in place of the file."""
    found = {}
    for page in docs.rglob("*.md"):
        first, _, _ = page.read_text().partition("\n")
        if match := _MIRROR.match(first):
            found[(page.parent / match[1]).resolve()] = page
    return found


def _read_source(app: Sphinx, docname: str, source: list[str]) -> None:
    docs, page = Path(app.srcdir), Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return
    pages = mirrors(docs)
    origin = next((file for file, mirror in pages.items() if mirror == page), page)
    if origin != page:
        app.env.note_dependency(str(origin))
        source[0] = origin.read_text()

    def lead(match: re.Match[str]) -> str:
        target = (origin.parent / match["path"]).resolve()
        if target.is_dir():
            return match["text"]
        there = os.path.relpath(pages.get(target, target), page.parent)
        return f"[{match['text']}]({there}{match['anchor'] or ''})"

    source[0] = _LINK.sub(lead, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _read_source)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
