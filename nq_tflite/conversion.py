"""`nq.convert`: a Keras model or a stock .tflite becomes one nested file."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nq_tflite import flatbuffer as fb
from nq_tflite.calibration import RepresentativeData
from nq_tflite.errors import FormatError
from nq_tflite.format import SECTION_ALIGNMENT, Section, SectionTable, align
from nq_tflite.lockstep import Lockstep
from nq_tflite.plan import Plan, make_plan
from nq_tflite.report import ConversionReport, Estimate, conversion_report
from nq_tflite.rewrite import insert_unpack
from nq_tflite.rewrite.insert_unpack import PackedSection, place_sections
from nq_tflite.rounding import DEFAULT, EXACT, rounding_method
from nq_tflite.runtimes import Runtime, installed_runtimes, load_runtime
from nq_tflite.source import Samples, Source, load_source
from nq_tflite.spec import Nesting

#: Called with a stage's name, the steps done and the steps in all (0 while unknown).
Progress = Callable[[str, int, int], None]


def convert(
    source: Any,
    path: str | os.PathLike[str],
    nesting: str | Nesting | Iterable[int] = "8|5",
    representative_data: RepresentativeData | None = None,
    *,
    rounding: str = DEFAULT,
    exact: bool = False,
    input_type: str = "float32",
    output_type: str = "float32",
    activation_ranges: str = "minmax",
    progress: Progress | None = None,
) -> ConversionReport:
    """Converts a model into one nested .tflite file.

    Args:
        source: a Keras model, a .keras or .h5 file, a SavedModel folder, a .tflite file (full-int8 or float) or its
            bytes.
        path: the file to write; it appears whole or not at all.
        nesting: bit-widths, full-bit first: "8|5", or with levels between: "8|6|4".
        representative_data: typical inputs: an array [samples, ...], an iterable of samples, or tf.lite's function
            that returns one. A Keras source becomes a full-int8 graph with it, and keeps float32 activations without;
            a .tflite source stays what it is. Rounding looks at the first 128 samples. Without any it looks at
            procedural images or noise in the range that the model's batch norms tell.
        rounding: "descent" (weights chosen by the error of the layer's outputs), "squant" (adaptive rounding, NestQuant
            section 3.2) or "nearest".
        exact: keep an INT8 source's codes bit for bit, or those of rounding to nearest: full-bit is then the source,
            and part-bit what its upper bits and a corrected bias give. `rounding` does not count then.
        input_type, output_type: "float32", "int8" or "uint8" inputs and outputs of a full-int8 graph.
        activation_ranges: of a full-int8 graph's activations, from the representative data: "minmax", all values seen;
            "percentile", all but a ten-thousandth at each end; "mse", the least squared error; or "auto", the one of
            these whose outputs are nearest to the float model's, which takes some seconds more.
        progress: called as the work goes on.

    Returns:
        What was nested, what was not and why, sizes and errors.

    Raises:
        NestingError, RepresentativeDataError, UnsupportedModelError, WeightsError, FormatError, MissingPackageError.

    Example:
        >>> report = nq.convert(model, "model.tflite", nesting="8|5", representative_data=photos)  # doctest: +SKIP
    """
    chosen, method = Nesting.parse(nesting), EXACT if exact else rounding_method(rounding)
    notify = progress or (lambda stage, done, total: None)
    options = {"input_type": input_type, "output_type": output_type, "activation_ranges": activation_ranges}
    loaded = load_source(source, representative_data, look=method.needs_means, notify=notify, **options)
    lockstep = start_lockstep(loaded, chosen)
    notify("rounding", 0, 0)
    plan = make_plan(
        loaded.model,
        chosen,
        method,
        lockstep,
        exact=exact,
        progress=lambda done, total: notify("rounding", done, total),
    )
    notify("estimating", 0, 0)
    estimate = None if lockstep is None or loaded.samples is None else _estimate(lockstep, loaded.samples, chosen)
    notify("writing", 0, 0)
    size = write_nested(loaded.model, plan, chosen, path)
    notes = [note for note in (loaded.without, lockstep.stopped if lockstep else "") if note]
    return conversion_report(Path(path), size, chosen, method.name, plan, estimate, notes)


def start_lockstep(source: Source, nesting: Nesting) -> Lockstep | None:
    """The walk that rounding asks for statistics; None without samples."""
    if source.samples is None:
        return None
    return Lockstep(
        source.model,
        source.reference,
        source.samples.arrays,
        len(nesting.precisions),
        walking_runtime(),
        num_threads=os.cpu_count() or 1,
        held_out=source.samples.held_out,
    )


def walking_runtime() -> Runtime:
    """The stock runtime that graphs are walked with."""
    # The schema's object API has loaded one of these two, and tflite-runtime bears neither beside it.
    name = "ai-edge-litert" if "ai-edge-litert" in installed_runtimes() else "tensorflow"
    return load_runtime(name)


def _estimate(lockstep: Lockstep, samples: Samples, nesting: Nesting) -> Estimate | None:
    outcomes = lockstep.outcomes()
    if not outcomes:
        return None
    return Estimate(
        inputs=samples.description,
        num_inputs=samples.held_out or len(samples.arrays),
        held_out=samples.held_out > 0,
        precisions=nesting.precisions,
        agreement=None if outcomes[0].agreement is None else tuple(each.agreement or 0.0 for each in outcomes),
        snr_db=tuple(each.snr_db for each in outcomes),
    )


def write_nested(model: Any, plan: Plan, nesting: Nesting, path: str | os.PathLike[str]) -> int:
    """Writes a model with its weights as planned, and changes it on the way.

    Args:
        model: the schema's ModelT that the plan was made for.
        plan: what becomes of its weights.
        nesting: the levels of the whole file.
        path: the file to write; it appears whole or not at all.

    Returns:
        Bytes written.
    """
    sections, table_buffer = insert_unpack(model, plan, nesting)
    return fb.write_whole(path, _assemble(model, sections, table_buffer, nesting))


def _assemble(
    model: Any, sections: list[PackedSection], table_buffer: int, nesting: Nesting
) -> list[tuple[int, bytes]]:
    """The file's chunks. The root is packed twice: its size says where sections start, then it names them."""
    root_bytes = len(fb.pack_model(model))
    starts, end = [], root_bytes
    for section in sections:
        starts.append(align(end, SECTION_ALIGNMENT))
        end = starts[-1] + section.size
    place_sections(model, sections, starts)
    bodies = [_section_bytes(section) for section in sections]
    table = SectionTable(
        tuple(
            Section(start, len(body), zlib.crc32(body), bits)
            for start, body, bits in zip(starts, bodies, nesting.precisions, strict=True)
        )
    )
    model.buffers[table_buffer].data = np.frombuffer(table.pack(), np.uint8)
    root = fb.pack_model(model)
    if len(root) != root_bytes:
        raise FormatError("flatbuffer root", expected=f"{root_bytes} bytes both times", got=str(len(root)))
    return [(0, root), *zip(starts, bodies, strict=True)]


def _section_bytes(section: PackedSection) -> bytes:
    body = bytearray(section.size)
    for _, offset, data in section.buffers:
        body[offset : offset + len(data)] = data
    return bytes(body)
