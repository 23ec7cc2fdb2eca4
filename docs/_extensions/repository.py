"""Pages that stand elsewhere in the repository, where people who browse it look for them.

A page that is the one line `% mirror: ../CHANGELOG.md` shows that file; notebooks are copied to where Sphinx sees them.
Links between the repository's files lead to the site's pages of them; a link to a file that has no page becomes a
download, one to a folder its text.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
DOCS, NOTEBOOKS = ROOT / "docs", ROOT / "notebooks"
_MIRROR = re.compile(r"^% mirror: (\S+)$")
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<path>(?!https?:|mailto:|#)[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def _mirrors() -> dict[Path, Path]:
    """The file that each page shows which shows one."""
    found = {}
    for page in DOCS.rglob("*.md"):
        first, _, _ = page.read_text().partition("\n")
        if match := _MIRROR.match(first):
            found[page] = (page.parent / match[1]).resolve()
    return found


def _copy_of(notebook: Path) -> Path:
    return DOCS / NOTEBOOKS.name / notebook.name


def _lead(text: str, origin: Path, page: Path) -> str:
    """The text of a file as a page, its links as they are from there."""
    pages = {file: mirror for mirror, file in _mirrors().items()} | {ROOT / "README.md": DOCS / "index.md"}
    pages |= {notebook: _copy_of(notebook) for notebook in NOTEBOOKS.glob("*.ipynb")}

    def lead(match: re.Match[str]) -> str:
        target = (origin.parent / match["path"]).resolve()
        if not target.exists():
            return match[0]  # a mistake, of which Sphinx warns, or code that looks like a link
        if target.is_dir():
            return match["text"]
        there = os.path.relpath(pages.get(target, target), page.parent)
        return f"[{match['text']}]({there}{match['anchor'] or ''})"

    return _LINK.sub(lead, text)


def _copy_notebooks(app: Sphinx, config: Any) -> None:
    """Notebooks and a page that lists them; a source archive has none."""
    notebooks, readme = sorted(NOTEBOOKS.glob("*.ipynb")), NOTEBOOKS / "README.md"
    copies = {_copy_of(notebook): _notebook_text(notebook) for notebook in notebooks}
    page = DOCS / NOTEBOOKS.name / "index.md"
    text = _lead(readme.read_text(), readme, page) if readme.exists() else "# Notebooks\n\nThe repository has them."
    copies[page] = "\n".join([text, "", "```{toctree}", ":hidden:", "", *(each.stem for each in notebooks), "```", ""])
    page.parent.mkdir(exist_ok=True)
    for stale in {*page.parent.iterdir()} - {*copies}:
        stale.unlink()
    for path, text in copies.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _notebook_text(notebook: Path) -> str:
    data = json.loads(notebook.read_text())
    data["metadata"]["language_info"] = {"name": "python", "pygments_lexer": "python"}
    for cell in data["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _lead("".join(cell["source"]), notebook, _copy_of(notebook))
    return json.dumps(data)


def _read_source(app: Sphinx, docname: str, source: list[str]) -> None:
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return
    if origin := _mirrors().get(page):
        app.env.note_dependency(str(origin))
        source[0] = origin.read_text()
    if page.parent != DOCS / NOTEBOOKS.name:
        source[0] = _lead(source[0], origin or page, page)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", _copy_notebooks)
    app.connect("source-read", _read_source)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
