"""Gives INT4 and INT2 weights of full-int8 layers the INT8 codes that say the same, so that they can nest.

A code times 16 (64 for INT2) at a scale of a sixteenth is the same value, and so is a bias times 16. The upper bits of
such codes are what the source had, and levels keep upper bits.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import InputSlot, ModelT, SubGraphT
from nq_tflite.graph.quantization import scales_of
from nq_tflite.graph.readers import reader_of
from nq_tflite.graph.replace_weights import replace_weights
from nq_tflite.graph.sites import Site, as_matrix, int8_reason
from nq_tflite.graph.widening import CODE_STEPS, FEWEST
from nq_tflite.units import counted

_Type = schema.TensorType
_NARROW = {_Type.INT4, _Type.INT2}


def to_int8_codes(model: ModelT) -> tuple[str, ...]:
    """Changes a model in place; says what it did, nothing where no INT8 layer has such weights."""
    changed: Counter[str] = Counter()
    for index, subgraph in fb.subgraphs(model):
        for number, uses in fb.readers(subgraph).items():
            tensor = subgraph.tensors[number]
            if tensor.type not in _NARROW or not all(_is_weight(model, subgraph, use) for use in uses):
                continue
            site = _site(model, index, number, uses)
            codes = None if site is None else fb.constant(model, tensor)
            if site is None or codes is None or not _biases_fit(model, site, CODE_STEPS[tensor.type]):
                continue
            matrix, steps = as_matrix(codes, site.layout), CODE_STEPS[tensor.type]
            if int8_reason(tensor, site.layout, len(matrix)) is not None:
                continue
            changed[fb.type_name(tensor.type)] += 1
            tensor.type = _Type.INT8
            replace_weights(model, [site], (matrix * steps).astype(np.int8), scales_of(tensor) / np.float32(steps))
    return tuple(
        f"{counted(count, f'{kind} weight')} as INT8 codes that say the same: nesting '{FEWEST[kind]}' holds all such "
        "codes in the fewest bits"
        for kind, count in sorted(changed.items())
    )


def _is_weight(model: ModelT, subgraph: SubGraphT, use: InputSlot) -> bool:
    """Whether an operator multiplies INT8 activations by it."""
    operator = subgraph.operators[use.position]
    reader = reader_of(model, operator)
    if reader is None or reader.looks_up or not reader.takes_int8 or use.slot != reader.weight:
        return False
    return bool(subgraph.tensors[reader.data_of(operator)].type == _Type.INT8)


def _site(model: ModelT, index: int, number: int, uses: list[InputSlot]) -> Site | None:
    subgraph = model.subgraphs[index]
    readers = [reader_of(model, subgraph.operators[use.position]) for use in uses]
    layouts = {reader.layout for reader in readers if reader is not None}
    name = fb.text(subgraph.tensors[number].name)
    return Site(index, number, tuple(use.position for use in uses), layouts.pop(), name) if len(layouts) == 1 else None


def _biases_fit(model: ModelT, site: Site, steps: int) -> bool:
    """Whether the layers' biases stay within int32 in finer units."""
    subgraph = model.subgraphs[site.subgraph]
    for position in site.operators:
        operator = subgraph.operators[position]
        reader = reader_of(model, operator)
        index = -1 if reader is None else reader.bias_of(operator)
        values = fb.constant(model, subgraph.tensors[index]) if index >= 0 else None
        if index >= 0 and (values is None or np.abs(values.astype(np.int64)).max() * steps > np.iinfo(np.int32).max):
            return False
    return True
