"""All that a report page says about a model: read from its file, measured here, and known from its conversion."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nq_tflite.conversion.advice import advice, file_advice, worst_weights
from nq_tflite.conversion.report import ConversionReport, Estimate, read_conversion
from nq_tflite.device.delegation import Delegation
from nq_tflite.device.runtimes import RuntimeName, installed_runtimes
from nq_tflite.errors import FormatError, NqError, how_to_install
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.inspection import InspectReport, find_weight, inspect_file
from nq_tflite.graph.nested import NestedWeight, read_nested
from nq_tflite.measure.benchmark import SLOWER, delegation_in_child, slower_than_stock
from nq_tflite.measure.child_process import Job, answer_job, run_in_child
from nq_tflite.measure.evaluate import Evaluation, evaluate
from nq_tflite.measure.timeline import Timeline, measure_timeline
from nq_tflite.progress import ShowProgress, shown
from nq_tflite.records import from_dict


@dataclass(frozen=True)
class Findings:
    """Of one model.

    Attributes:
        file: what the nested file holds.
        drawn: the weights whose codes are drawn.
        advice: what to try next.
        delegation, timeline: what runs fused, and the model over time; None if no runtime could run it here.
        not_run: why not; None if it has run.
        evaluation: accuracy on photos; None without any.
        conversion: what `convert` told of the file; None if not given.
        against: a stock model's timeline.
        against_bytes: of its file.
    """

    file: InspectReport
    drawn: tuple[NestedWeight, ...]
    advice: tuple[str, ...]
    delegation: Delegation | None
    timeline: Timeline | None
    not_run: str | None
    evaluation: Evaluation | None
    conversion: ConversionReport | None
    against: Timeline | None
    against_bytes: int | None

    def as_dict(self) -> dict[str, Any]:
        """Everything but the weights' codes, for machines."""
        parts = {
            "delegation": self.delegation,
            "timeline": self.timeline,
            "evaluation": self.evaluation,
            "conversion": self.conversion,
            "against": self.against,
        }
        known = {name: None if part is None else part.as_dict() for name, part in parts.items()}
        return {"file": self.file.as_dict(), "advice": self.advice, "not_run": self.not_run or ""} | known


def find(
    path: str | os.PathLike[str],
    photos: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    *,
    layers: Sequence[str] = (),
    reference: str | os.PathLike[str] | None = None,
    against: str | os.PathLike[str] | None = None,
    conversion: ConversionReport | str | os.PathLike[str] | None = None,
    runtime: RuntimeName | None = None,
    num_threads: int = 1,
    progress: ShowProgress = True,
    command_line: bool = False,
    **preprocessing: Any,
) -> Findings:
    """Reads and measures; the arguments are those of `write_report`."""
    stages = 4
    timeline = stock = evaluation = None
    with shown(progress) as notify:
        notify("reading the file", 0, stages)
        file = inspect_file(path)
        drawn = _choose(path, file, layers)
        known = _conversion(conversion, file)
        notify("what runs fused", 1, stages)
        delegation, not_run = _delegation(path, runtime)
        if delegation is not None:
            notify("latency and memory", 2, stages)
            timeline = measure_timeline(path, runtime=runtime, num_threads=num_threads)
            if against is not None:
                stock = measure_timeline(against, runtime=runtime, num_threads=num_threads)
        if photos is not None:
            notify("photos", 3, stages)
            evaluation = _evaluate(
                path, photos, labels, reference=reference, runtime=runtime, num_threads=num_threads, **preprocessing
            )
    nesting, measured = Nesting(file.precisions[::-1]), None if evaluation is None else _as_estimate(evaluation)
    return Findings(
        file=file,
        drawn=drawn,
        advice=(
            *(
                file_advice(file.weights, nesting, measured, command_line=command_line)
                if known is None
                else advice(known, measured, command_line=command_line)
            ),
            *_slower(timeline, stock),
        ),
        delegation=delegation,
        timeline=timeline,
        not_run=not_run,
        evaluation=evaluation,
        conversion=known,
        against=stock,
        against_bytes=None if stock is None else Path(stock.path).stat().st_size,
    )


def _slower(nested: Timeline | None, stock: Timeline | None) -> tuple[str, ...]:
    """A model that no precision makes as fast as the stock one here should be nested for its memory alone."""
    if nested is None or stock is None:
        return ()
    fastest = min(nested.median_latency(bits) for bits in nested.precisions)
    ratio = fastest / stock.median_latency(None)
    return (slower_than_stock(Path(stock.path).name, ratio),) if ratio > SLOWER else ()


def _choose(path: str | os.PathLike[str], file: InspectReport, layers: Sequence[str]) -> tuple[NestedWeight, ...]:
    nested = read_nested(path)
    chosen = [find_weight(nested, name) for name in layers]
    return tuple(chosen or worst_weights(nested, file.weights))


def _delegation(path: str | os.PathLike[str], runtime: RuntimeName | None) -> tuple[Delegation | None, str | None]:
    """In a process of its own; a runtime that was asked for by name has to be there."""
    if runtime is None and not installed_runtimes():
        return None, f"no TFLite runtime is installed: {how_to_install('litert')}"
    try:
        return delegation_in_child(path, runtime)[1], None
    except NqError as error:
        if runtime is not None:
            raise
        return None, " ".join(str(error).split())


# ---- the conversion's own report -------------------------------------------------------------------------------------


def _conversion(
    given: ConversionReport | str | os.PathLike[str] | None, file: InspectReport
) -> ConversionReport | None:
    """What is given, or the lines of `nq-tflite convert --json` in a file, if it tells of this model."""
    if given is None:
        return None
    found = given if isinstance(given, ConversionReport) else read_conversion(Path(given))
    told, own = ({(row.name, row.level_bytes) for row in rows} for rows in (found.weights, file.weights))
    if found.file_bytes != file.file_bytes or told != own:
        raise FormatError(
            "the report of a conversion",
            expected=f"the one of {file.path} ({file.file_bytes} bytes)",
            got=f"that of another file ({found.path}, {found.file_bytes} bytes)",
            fix="Convert again with --json, and keep the output.",
        )
    return found


# ---- photos, in a process of their own: what has read the file here may clash with the runtime -----------------------


def _evaluate(
    path: str | os.PathLike[str],
    photos: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None,
    *,
    reference: str | os.PathLike[str] | None,
    **options: Any,
) -> Evaluation:
    files = {"path": path, "photos": photos, "labels": labels, "reference": reference}
    given = {name: None if each is None else os.fspath(each) for name, each in files.items()}
    return from_dict(Evaluation, run_in_child(__name__, {"job": "evaluate"} | given | options))


def _as_estimate(evaluation: Evaluation) -> Estimate:
    """What advice can be given on."""
    scores = evaluation.scores[::-1]
    return Estimate(
        inputs="photos",
        num_inputs=evaluation.num_photos,
        held_out=True,
        precisions=tuple(score.bits or 0 for score in scores),
        agreement=tuple(score.agreement for score in scores),
        expected_agreement=None,
        snr_db=tuple(score.logit_snr_db for score in scores),
    )


def _evaluate_job(job: Job) -> Job:
    return asdict(evaluate(job.pop("path"), job.pop("photos"), job.pop("labels"), **job))


if __name__ == "__main__":
    answer_job({"evaluate": _evaluate_job})
