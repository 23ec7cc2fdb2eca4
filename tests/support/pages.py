"""The documentation's pages as tests read them: blocks of code, links, headings.

A block's first word is its language. A second word says why the block cannot run here, or not as it stands; no reader
sees it. `tests/house/test_docs.py` lists and counts such blocks.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(page for page in ROOT.glob("docs/**/*.md") if page.parent.name != "notebooks"),  # these are made
    ROOT / "notebooks" / "README.md",
    ROOT / "nq_tflite" / "FORMAT.md",
    ROOT / "models" / "README.md",
    ROOT / "custom_ops" / "android" / "README.md",
]
_BLOCK = re.compile(r"^```([^\n{}`]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """Code on a page: `mark` is "" where nothing keeps it from running."""

    page: Path
    language: str
    mark: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, comments and where it writes left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        commands = [shlex.split(line, comments=True) for line in lines]
        return [list(takewhile(lambda word: word != ">", words)) for words in commands if words]


def name_of(page: Path) -> str:
    """The page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Of a page, in order; directives of the site's builder are none."""
    found = []
    for info, text in _BLOCK.findall(page.read_text()):
        language, _, mark = info.partition(" ")
        found.append(Block(page, language, mark, text))
    return found


def prose(page: Path) -> str:
    """The page without its blocks."""
    return _FENCED.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Where links and pictures lead, as written."""
    return [link or picture for link, picture in _LINK.findall(prose(page))]


def anchors(page: Path) -> set[str]:
    """Of the page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each)) for each in headings]
    return {each.strip().lower().replace(" ", "-") for each in plain}
