"""`nq.convert`: a Keras model or a stock .tflite becomes one nested file."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from nq_tflite import flatbuffer as fb
from nq_tflite.calibration import RepresentativeData, sample_source
from nq_tflite.errors import FormatError, UnsupportedModelError
from nq_tflite.format import SECTION_ALIGNMENT, Section, SectionTable, align
from nq_tflite.keras_export import export, is_keras_source
from nq_tflite.plan import make_plan
from nq_tflite.report import ConversionReport, conversion_report
from nq_tflite.rewrite import insert_unpack
from nq_tflite.rewrite.insert_unpack import PackedSection, place_sections
from nq_tflite.rounding import DEFAULT, rounding_method
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
        representative_data: typical inputs, for a full-int8 graph: an array [samples, ...], an iterable of samples,
            or tf.lite's function that returns one. Without it the graph keeps float32 activations. A .tflite source
            has its activations quantized already, or not, and takes none.
        rounding: "squant" (data-free adaptive rounding, NestQuant section 3.2) or "nearest".
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
    chosen, method = Nesting.parse(nesting), rounding_method(rounding)
    notify = progress or (lambda stage, done, total: None)
    options = {"input_type": input_type, "output_type": output_type, "activation_ranges": activation_ranges}
    file = _load(source, representative_data, options, notify)
    plan = make_plan(file.model, chosen, method, lambda done, total: notify("rounding", done, total))
    notify("writing", 0, 0)
    sections, table_buffer = insert_unpack(file.model, plan, chosen)
    size = fb.write_whole(path, _assemble(file.model, sections, table_buffer, chosen))
    return conversion_report(Path(path), size, chosen, rounding, plan)


def _load(source: Any, data: RepresentativeData | None, options: dict[str, str], notify: Progress) -> fb.ModelFile:
    if is_keras_source(source):
        samples = None if data is None else sample_source(data)
        notify("converting with tensorflow", 0, 0)
        return fb.read_model(export(source, samples, **options))
    if not isinstance(source, str | os.PathLike | bytes):
        raise UnsupportedModelError(
            "source",
            expected="a Keras model, or the path of a .keras, .h5 or .tflite file or SavedModel folder",
            got=type(source).__name__,
        )
    if data is not None:
        raise UnsupportedModelError(
            "representative_data",
            expected="none with a .tflite source, whose activations are quantized already or stay float",
            got="some",
            fix="Leave it out, or convert from the Keras model.",
        )
    return fb.read_model(source)


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
