"""Figures as parts of a page: SVG that takes its colours and its type from the page's style sheet."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
_TAG = re.compile(r"<[^<>]*>")
_COLOUR = re.compile("|".join(_VARIABLES), re.IGNORECASE)


@dataclass(frozen=True)
class Drawing:
    """A figure of the page.

    Attributes:
        wide, narrow: SVG for a page and for a phone; `narrow` is None where the wide one serves both.
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
    """Inline SVG: without a document's head, with ids of its own, and colours by name."""
    buffer = io.StringIO()
    with style():
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    text = buffer.getvalue()
    text = re.sub(
        r"<!--.*?-->|<metadata>.*?</metadata>|<style .*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL
    )
    text = _TAG.sub(lambda tag: _as_part(tag.group(), name), text)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


def _as_part(tag: str, name: str) -> str:
    """A tag with what only a document of its own needs taken away, and the page's ids, type and colours."""
    tag = re.sub(r' xmlns(:\w+)?="[^"]*"', "", tag).replace("xlink:href", "href")
    tag = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    tag = re.sub(r"font: (bold )?([\d.]+)px [^;\"]*", _font, tag)
    if tag.startswith("<svg"):
        tag = re.sub(r' (width|height|version)="[^"]*"', "", tag)
    return _COLOUR.sub(lambda found: _VARIABLES[found.group().lower()], tag)


def _font(found: re.Match[str]) -> str:
    weight = "; font-weight: 600" if found.group(1) else ""
    return f"font-size: {found.group(2)}px{weight}"
