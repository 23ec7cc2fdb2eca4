"""`nq.extract`: one precision of a nested file as a stock .tflite that every runtime and accelerator takes."""

from __future__ import annotations

import os

from nq_tflite.files import check_output, write_whole
from nq_tflite.format.nesting import Precision, precision_to_level
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import read_nested
from nq_tflite.graph.packed_files import packed_bytes, packed_files
from nq_tflite.graph.remove_unpack import remove_unpack
from nq_tflite.graph.stock_weights import StockWeights


def extract(
    source: str | os.PathLike[str] | bytes,
    path: str | os.PathLike[str],
    precision: Precision = "full",
    *,
    weights: StockWeights = "nested",
) -> int:
    """Writes the model at one precision as an ordinary .tflite, without NQ operators.

    The weights are exactly those that the nested model uses at that precision, so a runtime's own kernels give the
    same outputs. Names, signatures, metadata, packed files and the quantization of inputs and outputs are those of the
    model that was nested; if its codes were kept (`convert` with `exact=True`), full-bit is that model again, but for
    tensors that nothing read, an all-zero bias where a convolution had none, and the scale of all-zero channels.

    Args:
        source: a nested file or its bytes.
        path: the file to write; it appears whole or not at all.
        precision: "full", "part" or a number of bits that the model has.
        weights: "nested", as they are; or those of float dense layers for the runtime's dynamic-range kernels: "int8",
            rounded again with a scale for each channel, or "int4", with the file's groups as TFLite's blocks: its own
            codes where four bits are all that they have, rounded again elsewhere.

    Returns:
        Bytes written.

    Raises:
        FormatError: the source is not a (whole) nested file.
        PrecisionError: the model has no such precision.
        NestingError: no such kind of weights.
        UnsupportedModelError: "int4" of a weight without groups.
        OutputError: the file cannot be written, or is the source.
    """
    check_output(path, source)
    nested = read_nested(source)
    level = precision_to_level(precision, nested.precisions)
    remove_unpack(nested.file.model, [*nested.weights, *nested.starts], level, weights)
    root = fb.pack_model(nested.file.model)
    return write_whole(path, [(0, root), (len(root), packed_bytes(packed_files(source), len(root)))])
