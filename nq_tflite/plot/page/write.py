"""`nq.write_report`: findings into the page's template."""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any

from nq_tflite import units
from nq_tflite.conversion.advice import worst_first
from nq_tflite.conversion.report import ConversionReport
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import needing_extra
from nq_tflite.files import check_output, write_whole
from nq_tflite.measure.benchmark import cpu_name
from nq_tflite.measure.findings import Findings, find
from nq_tflite.measure.preprocessing import PixelRange
from nq_tflite.plot.page.drawings import draw
from nq_tflite.progress import ShowProgress
from nq_tflite.version import __version__

#: Bars of layers that are this near to each other stay short.
_LEAST_SPREAD_DB = 6.0


def write_report(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    photos: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    *,
    reference: str | os.PathLike[str] | None = None,
    preprocess: PixelRange | None = None,
    crop_fraction: float | None = None,
    against: str | os.PathLike[str] | None = None,
    conversion: ConversionReport | str | os.PathLike[str] | None = None,
    layers: Sequence[str] = (),
    runtime: RuntimeName | None = None,
    num_threads: int = 1,
    progress: ShowProgress = True,
    command_line: bool = False,
) -> Findings:
    """Writes one HTML page about a nested model: sizes, accuracy, latency, memory, each layer's error, and advice.

    The page needs no other file and no network. If a runtime is installed, the model runs on this machine, in its own
    processes. Accuracy is measured on photos if given; otherwise the page has the conversion's estimate, if any.

    Args:
        path: a nested file.
        output: the page to write; it appears complete or not at all.
        photos, labels, reference, preprocess, crop_fraction: as `nq_tflite.measure.evaluate.evaluate`.
        against: a stock .tflite file, to be timed beside it.
        conversion: the report of `nq.convert`, or a file with the output of `nq-tflite convert --json`.
        layers: names of nested weights to draw, or parts of only their names; the worst ones if not given.
        runtime, num_threads: as nq.Interpreter.
        progress: called during the work; True shows a bar in a terminal or notebook, None shows nothing.
        command_line: whether the page's advice names options of `nq-tflite convert` instead of those of `nq.convert`.

    Returns:
        The findings that the page shows.

    Raises:
        FormatError: not a nested file, or the report of another file's conversion.
        OutputError: the page cannot be written.
        MissingPackageError: jinja2, matplotlib, or the runtime that was asked for is not installed.
        PhotosError, UnsupportedModelError: as `nq_tflite.measure.evaluate.evaluate`.

    Example:
        >>> nq.write_report("model.tflite", "report.html", "photos").advice  # doctest: +SKIP
        ()
    """
    check_output(output, path)
    template = _template()
    findings = find(
        path,
        photos,
        labels,
        reference=reference,
        preprocess=preprocess,
        crop_fraction=crop_fraction,
        against=against,
        conversion=conversion,
        layers=layers,
        runtime=runtime,
        num_threads=num_threads,
        progress=progress,
        command_line=command_line,
    )
    page = template.render(_context(findings))
    write_whole(output, [(0, page.encode())])
    return findings


def _template() -> Any:
    """Every text that the template shows is escaped: names come from files that anyone may have made."""
    with needing_extra("report", "a report's page"):
        import jinja2
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nq_tflite.plot", "page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "megabytes": units.megabytes,
        "milliseconds": units.milliseconds,
        "percent": units.percent,
        "decibels": units.decibels,
        "shape": units.shape_text,
    }
    return environment.get_template("page.html")


def _context(findings: Findings) -> dict[str, Any]:
    file, evaluation, script = findings.file, findings.evaluation, _part("page.js")
    rows = worst_first(file.weights)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    finite = [row.snr_db[0] for row in rows if math.isfinite(row.snr_db[0])]
    best = max(finite, default=0.0)
    spread = max(best - min(finite, default=0.0), _LEAST_SPREAD_DB)
    return {
        "findings": findings,
        "file": file,
        "name": Path(file.path).name,
        "nesting": "|".join(map(str, file.precisions[::-1])),
        "graph_bytes": file.file_bytes - sum(file.section_bytes),
        "levels": list(enumerate(file.precisions)),
        "rows": list(zip(rows, units.layer_labels([row.name for row in rows], 80), strict=True)),
        "lost": lambda decibels: max(0.0, best - decibels) / spread,
        "most_bytes": max(sum(row.level_bytes) for row in rows),
        "reference": None if evaluation is None else Path(evaluation.reference).name,
        "drawings": draw(findings),
        "all_fused": findings.delegation is None or all(each.place == "fused" for each in findings.delegation.nested),
        "cpu": f"{cpu_name()} ({os.cpu_count()} CPUs)",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "version": __version__,
        "css": _part("page.css"),
        "script": script,
        "script_hash": f"sha256-{digest}",
    }


def _part(name: str) -> str:
    return (files("nq_tflite.plot.page") / name).read_text(encoding="utf-8")
