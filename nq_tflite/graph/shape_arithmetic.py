"""Folds the arithmetic on shapes before a RESHAPE into constants, if only the batch size is open.

Keras leaves it: a Dense on three dimensions, say, is SHAPE, GATHER, REDUCE_PROD, CONCATENATION, PACK and two
RESHAPEs around a FULLY_CONNECTED. All sizes but the batch's are known, and a RESHAPE needs no more than those: the
one that is left follows from the number of elements, and is -1. Resizing the batch goes on working.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, OperatorT, SubGraphT, TensorT

#: Sizes in the shape of their tensor: int where they are known, None if they depend on the batch.
Sizes = NDArray[np.object_]


def fold_shapes(model: ModelT) -> int:
    """Gives RESHAPEs constant shapes, and drops the operators that computed them.

    Args:
        model: changed in place; tensors and buffers keep their indices.

    Returns:
        Operators dropped.
    """
    return sum(_fold(model, subgraph) for _, subgraph in fb.subgraphs(model))


def _fold(model: ModelT, subgraph: SubGraphT) -> int:
    sizes: dict[int, Sizes] = {}
    for operator in subgraph.operators:
        name = fb.operator_name(model, operator)
        if name == "RESHAPE":
            _set_shape(model, subgraph, operator, sizes)
        find = _SIZES.get(name)
        outputs = fb.indices(operator.outputs)
        if find is None or len(outputs) != 1 or subgraph.tensors[outputs[0]].type != schema.TensorType.INT32:
            continue
        if (found := find(_Operands(model, subgraph, operator, sizes))) is not None:
            sizes[outputs[0]] = found
    return _drop_unread(model, subgraph)


def _set_shape(model: ModelT, subgraph: SubGraphT, operator: OperatorT, sizes: dict[int, Sizes]) -> None:
    """Makes a RESHAPE's new shape a constant, if it is computed and at most one size of it is open."""
    inputs = fb.indices(operator.inputs)
    wanted = sizes.get(inputs[1]) if len(inputs) > 1 else None
    if wanted is None or wanted.ndim != 1:
        return
    known = [size for size in wanted if size is not None]
    if len(wanted) - len(known) > 1 or min(known, default=1) < 1:
        return
    signature = [-1 if size is None else int(size) for size in wanted]
    name = f"{fb.text(subgraph.tensors[inputs[1]].name)}/folded"
    buffer = fb.add_buffer(model, np.array(signature, np.int32))
    index = fb.add_tensor(subgraph, name, [len(signature)], schema.TensorType.INT32, buffer)
    operator.inputs = [inputs[0], index, *inputs[2:]]
    output = subgraph.tensors[fb.indices(operator.outputs)[0]]
    elements = math.prod(fb.shape(subgraph.tensors[inputs[0]]))
    output.shape = [max(1, elements // math.prod(known)) if size < 0 else size for size in signature]
    output.shapeSignature = signature if -1 in signature else None


def _drop_unread(model: ModelT, subgraph: SubGraphT) -> int:
    """Drops the shape arithmetic that nothing reads any more, from the last operator to the first."""
    read = set(fb.indices(subgraph.outputs))
    kept: list[OperatorT] = []
    for operator in reversed(subgraph.operators):
        outputs = fb.indices(operator.outputs)
        is_dead = fb.operator_name(model, operator) in _SIZES and read.isdisjoint(outputs)
        if is_dead and all(subgraph.tensors[index].type == schema.TensorType.INT32 for index in outputs):
            continue
        read.update(fb.indices(operator.inputs))
        kept.append(operator)
    dropped = len(subgraph.operators) - len(kept)
    subgraph.operators = kept[::-1]
    return dropped


class _Operands:
    """An operator's inputs as sizes."""

    def __init__(self, model: ModelT, subgraph: SubGraphT, operator: OperatorT, sizes: dict[int, Sizes]) -> None:
        self._model, self._subgraph, self._sizes = model, subgraph, sizes
        self.inputs, self.options = fb.indices(operator.inputs), operator.builtinOptions

    def tensor(self, slot: int) -> TensorT:
        return self._subgraph.tensors[self.inputs[slot]]

    def sizes(self, slot: int) -> Sizes | None:
        """Computed ones, or those of a constant."""
        index = self.inputs[slot]
        return self._sizes[index] if index in self._sizes else self.constant(slot)

    def constant(self, slot: int) -> Sizes | None:
        """int32 values of a constant."""
        if slot >= len(self.inputs) or self.inputs[slot] < 0 or self.tensor(slot).type != schema.TensorType.INT32:
            return None
        values = fb.constant(self._model, self.tensor(slot))
        return None if values is None else values.astype(object)

    def number(self, slot: int) -> int | None:
        """A constant of one element."""
        values = self.constant(slot)
        return int(values.reshape(-1)[0]) if values is not None and values.size == 1 else None

    def all_sizes(self) -> list[Sizes] | None:
        found = [each for slot in range(len(self.inputs)) if (each := self.sizes(slot)) is not None]
        return found if found and len(found) == len(self.inputs) else None


def _shape(operands: _Operands) -> Sizes | None:
    """Of a file without signatures the first size may be a batch, which programs resize all the same."""
    tensor = operands.tensor(0)
    dims = fb.indices(tensor.shapeSignature) or [-1, *fb.indices(tensor.shape)[1:]]
    return np.array([None if size < 0 else size for size in dims], object)


def _gather(operands: _Operands) -> Sizes | None:
    sizes, places = operands.sizes(0), operands.constant(1)
    options = operands.options
    if (
        sizes is None
        or places is None
        or sizes.ndim != 1
        or (options is not None and (options.axis or options.batchDims))
    ):
        return None
    if not ((places >= 0) & (places < len(sizes))).all():
        return None
    return np.asarray(sizes[places.astype(np.int64)], object)


def _strided_slice(operands: _Operands) -> Sizes | None:
    sizes, options = operands.sizes(0), operands.options
    begin, end, step = (operands.number(slot) for slot in (1, 2, 3))
    if sizes is None or sizes.ndim != 1 or options is None or begin is None or end is None or step != 1:
        return None
    if options.ellipsisMask or options.newAxisMask or getattr(options, "offset", False):
        return None
    if options.shrinkAxisMask:
        return np.array(sizes[begin], object) if -len(sizes) <= begin < len(sizes) else None
    return sizes[None if options.beginMask & 1 else begin : None if options.endMask & 1 else end]


def _pack(operands: _Operands) -> Sizes | None:
    values = operands.all_sizes()
    if values is None or operands.options is None or operands.options.axis or any(each.ndim for each in values):
        return None
    return np.array([each[()] for each in values], object)


def _concatenation(operands: _Operands) -> Sizes | None:
    values = operands.all_sizes()
    if values is None or operands.options is None or operands.options.axis or any(each.ndim != 1 for each in values):
        return None
    return np.concatenate(values)


def _product(operands: _Operands) -> Sizes | None:
    sizes, axis = operands.sizes(0), operands.number(1)
    if sizes is None or sizes.ndim != 1 or axis not in (0, -1):
        return None
    value = None if any(size is None for size in sizes) else math.prod(sizes)
    return np.array([value] if operands.options is not None and operands.options.keepDims else value, object)


def _elementwise(function: Callable[[int, int], int]) -> Callable[[_Operands], Sizes | None]:
    def apply(operands: _Operands) -> Sizes | None:
        values = operands.all_sizes()
        if values is None or len(values) != 2:
            return None
        a, b = np.broadcast_arrays(*values)
        pairs = zip(a.reshape(-1), b.reshape(-1), strict=True)
        results: list[Any] = [None if x is None or y is None else function(x, y) for x, y in pairs]
        return np.array(results, object).reshape(a.shape)

    return apply


#: What operators on sizes compute, None if it cannot be told.
_SIZES: dict[str, Callable[[_Operands], Sizes | None]] = {
    "SHAPE": _shape,
    "GATHER": _gather,
    "STRIDED_SLICE": _strided_slice,
    "PACK": _pack,
    "CONCATENATION": _concatenation,
    "REDUCE_PROD": _product,
    "ADD": _elementwise(lambda a, b: a + b),
    "SUB": _elementwise(lambda a, b: a - b),
    "MUL": _elementwise(lambda a, b: a * b),
}
