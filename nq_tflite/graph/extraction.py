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
    """Writes one precision of a model as a stock .tflite file, without NQ operators.

    The weights are exactly those that the nested model uses at that precision, so a runtime's own kernels give the
    same outputs. Names, signatures, metadata, packed files and the quantization of inputs and outputs are those of the
    source model. If its codes were kept (`convert` with `exact=True`), full-bit equals the source model, except for
    tensors that nothing read, an all-zero bias where a convolution had none, and the scale of all-zero channels.

    Args:
        source: a nested file or its bytes.
        path: the file to write; it appears complete or not at all.
        precision: "full", "part" or a number of bits that the model has.
        weights: "nested" keeps them as they are. The others write weights of float dense layers for the runtime's
            dynamic-range kernels: "int8" rounds them again with a scale for each channel, "int4" uses the file's
            groups as TFLite's blocks. "int4" keeps the codes if they have only four bits, and rounds others again.

    Returns:
        The number of bytes written.

    Raises:
        FormatError: the source is not a complete nested file.
        PrecisionError: the model has no such precision.
        NestingError: there is no such kind of weights.
        UnsupportedModelError: "int4" was asked for, and a weight has no groups.
        OutputError: the file cannot be written, or is the source.
    """
    check_output(path, source)
    nested = read_nested(source)
    level = precision_to_level(precision, nested.precisions)
    remove_unpack(nested.file.model, [*nested.weights, *nested.starts], level, weights)
    root = fb.pack_model(nested.file.model)
    return write_whole(path, [(0, root), (len(root), packed_bytes(packed_files(source), len(root)))])
