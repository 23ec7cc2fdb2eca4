"""Figures as parts of a page: SVG that takes its colours and its type from the page's style sheet."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from nq_tflite.measure.findings import Findings
from nq_tflite.plot import accuracy_figure, histogram_figure, sizes_figure, timeline_figure
from nq_tflite.plot.style import COLOURS, INK, NARROW, PAPER, QUIET, RULE, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inches of a figure as wide as the page.
_FULL = 9.6
#: The page's name for each of the house style's colours, as matplotlib writes them.
_VARIABLES = {
    colour.lower(): f"var(--{name})"
    for colour, name in [(INK, "ink"), ("#000000", "ink"), (QUIET, "quiet"), (RULE, "rule"), (PAPER, "card")]
} | {colour.lower(): f"var(--colour-{index})" for index, colour in enumerate(COLOURS)}
_REFERENCE = "url(#"
#: The weight of every text that is not regular.
_BOLD = "600"


@dataclass(frozen=True)
class Drawing:
    """A figure of the page.

    Attributes:
        wide, narrow: SVG for a page and for a phone; `narrow` is None if the wide one serves both.
    """

    wide: str
    narrow: str | None = None


def draw(findings: Findings) -> dict[str, Drawing]:
    """The page's figures by name; without those that nothing is known for."""
    file, drawings = findings.file, {}
    drawings["sizes"] = Drawing(_svg(sizes_figure(file, width=NARROW), "sizes", "Bytes that each precision needs"))
    if findings.evaluation is not None:
        figure = accuracy_figure(findings.evaluation, width=NARROW)
        drawings["accuracy"] = Drawing(_svg(figure, "accuracy", "Accuracy of each precision"))
    if findings.timeline is not None:
        title, stock = "Latency and memory while precisions change", findings.against
        drawings["timeline"] = Drawing(
            _svg(timeline_figure(findings.timeline, stock, width=_FULL), "timeline", title),
            _svg(timeline_figure(findings.timeline, stock, width=NARROW), "timeline-narrow", title),
        )
    title = "How the codes of single layers are spread"
    drawings["weights"] = Drawing(
        _svg(histogram_figure(findings.drawn, columns=3, width=_FULL), "weights", title),
        _svg(histogram_figure(findings.drawn, columns=2, width=NARROW), "weights-narrow", title),
    )
    return drawings


def _svg(figure: Figure, name: str, title: str) -> str:
    """Inline SVG, without what only a document needs, with ids of its own, and the page's colours and type."""
    buffer = io.StringIO()
    with style():
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in [each for each in parent if _local(each.tag) in ("metadata", "style")]:
            parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _value(_local(key), value, name) for key, value in element.attrib.items()}
    root.attrib = {"role": "img", "aria-label": title, "viewBox": root.attrib["viewBox"]}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    """A name without its XML namespace."""
    return name.rpartition("}")[2]


def _value(key: str, value: str, name: str) -> str:
    """An attribute's value with the page's ids, colours and type."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    return _style(value, name) if key == "style" else _presented(value, name)


def _presented(value: str, name: str) -> str:
    """A colour, a reference or any other value of a property."""
    if value.startswith(_REFERENCE):
        return f"{_REFERENCE}{name}-{value.removeprefix(_REFERENCE)}"
    return _VARIABLES.get(value.lower(), value)


def _style(text: str, name: str) -> str:
    """A style's declarations, without the font's family."""
    declared: dict[str, str] = {}
    for each in filter(None, map(str.strip, text.split(";"))):
        key, _, value = (part.strip() for part in each.partition(":"))
        if key == "font":  # weight, size and family in one, as matplotlib before 3.11 writes them
            words = value.split()
            size = next(index for index, word in enumerate(words) if word.endswith("px"))
            declared |= {"font-weight": _BOLD} if size > 0 else {}
            declared["font-size"] = words[size]
        elif key == "font-weight":
            declared[key] = _BOLD
        elif key != "font-family":
            declared[key] = _presented(value, name)
    return "; ".join(f"{key}: {value}" for key, value in declared.items())
