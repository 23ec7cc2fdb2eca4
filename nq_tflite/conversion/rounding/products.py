"""Large matrix products by a runtime's XNNPACK, in all threads.

OpenBLAS has one thread in a conversion, because its sums depend on how many share them, and kernels for SSE3 on CPUs
that are newer than it. XNNPACK sums up each element in the same order however many threads there are.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.device.runtimes import walking_runtime

Rows = NDArray[np.float32]

#: Multiplications and sizes from which on the way through a runtime is the shorter one.
_MANY, _WIDE = 1 << 26, 48
#: Terms that are summed up in one go: an interpreter holds so much of both factors at a time.
_TERMS = 1024
#: Columns of a symmetric product that are computed together; what lies before them is known then.
_TILE = 512
_IN_CACHE = 256


def product(left: Rows, right: Rows) -> Rows:
    """left [groups, rows, terms] times right [groups, terms, columns]."""
    groups, rows, terms = left.shape
    columns = right.shape[2]
    if groups * rows * terms * columns < _MANY or min(rows, terms, columns) < _WIDE:
        return np.asarray(left @ right)
    sums = np.zeros((groups, rows, columns), np.float32)
    size = -(-terms // -(-terms // _TERMS))
    multiplication = _Multiplication(groups, rows, size, columns)
    for begin in range(0, terms, size):
        part = slice(begin, begin + size)
        multiplication.add(left[:, :, part], right[:, part], sums)
    return sums


def gram(rows: Rows) -> Rows:
    """rows' rows of [groups, rows, depth]: [groups, depth, depth], symmetric to the bit."""
    transposed, depth = rows.transpose(0, 2, 1), rows.shape[2]
    if depth <= _TILE:
        return np.asarray(product(transposed, rows))
    sums = np.empty((len(rows), depth, depth), np.float32)
    for begin in range(0, depth, _TILE):
        tile, rest = slice(begin, min(begin + _TILE, depth)), slice(begin, depth)
        sums[:, tile, rest] = product(transposed[:, tile], rows[:, :, rest])
        sums[:, rest, tile] = sums[:, tile, rest].transpose(0, 2, 1)
    return sums


class _Multiplication:
    """BATCH_MATMUL of one size as a model of its own."""

    def __init__(self, groups: int, rows: int, terms: int, columns: int) -> None:
        model = _model(groups, rows, terms, columns)
        self._interpreter: Any = walking_runtime().interpreter(model_content=model, num_threads=os.cpu_count() or 1)
        self._interpreter.allocate_tensors()
        details = (*self._interpreter.get_input_details(), *self._interpreter.get_output_details())
        self._left, self._right, self._product = (each["index"] for each in details)

    def add(self, left: Rows, right: Rows, sums: Rows) -> None:
        """Adds the product to `sums`; terms that are missing are zeros."""
        terms = right.shape[1]
        lefts, rights = (self._interpreter.tensor(index)() for index in (self._left, self._right))
        for begin in range(0, terms, _IN_CACHE):  # of a transposed matrix a third of the time that all at once take
            part = slice(begin, min(begin + _IN_CACHE, terms))
            lefts[:, :, part] = left[:, :, part]
        rights[:, :terms] = right
        lefts[:, :, terms:], rights[:, terms:] = 0, 0
        del lefts, rights  # it does not run while somebody sees its memory
        self._interpreter.invoke()
        sums += self._interpreter.tensor(self._product)()


@lru_cache(64)
def _model(groups: int, rows: int, terms: int, columns: int) -> bytes:
    from nq_tflite.graph import flatbuffer as fb  # flatbuffers, which naming the methods must not need
    from nq_tflite.graph.flatbuffer import schema

    shapes = ([groups, rows, terms], [groups, terms, columns], [groups, rows, columns])
    tensors = [fb.new_tensor(None, shape, schema.TensorType.FLOAT32) for shape in shapes]
    operator = fb.new_operator(0, [0, 1], [2])
    operator.builtinOptionsType = schema.BuiltinOptions.BatchMatMulOptions
    operator.builtinOptions = schema.BatchMatMulOptionsT()
    graph = fb.new_subgraph(tensors, [0, 1], [2], [operator])
    model = fb.new_model([], [graph], [fb.new_buffer()])
    operator.opcodeIndex = fb.add_builtin_code(model, schema.BuiltinOperator.BATCH_MATMUL)
    return fb.pack_model(model)
