"""Replaces constant weights by NQ_UNPACK_DEQUANT operators."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from numpy.typing import NDArray

from nq_tflite.conversion.plan import Plan, WeightPlan
from nq_tflite.format.biases import LevelBiases
from nq_tflite.format.bitpack import CHANNEL_AXIS, pack
from nq_tflite.format.constants import CUSTOM_OP_NAME, CUSTOM_OP_VERSION, MADE_BIAS, METADATA_NAME, OutputType
from nq_tflite.format.levels import split
from nq_tflite.format.nesting import Nesting
from nq_tflite.format.option_block import OptionBlock
from nq_tflite.format.section_table import Section, SectionTable, lay_out
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import TensorPlace
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.sites import Site

#: Stands in a buffer's `offset` until the section's place in the file is known; any value above 1 keeps the field.
UNPLACED = 1 << 62


@dataclass(frozen=True)
class PackedSection:
    """One level of all weights: buffer index, offset in the section and bytes of each."""

    buffers: tuple[tuple[int, int, bytes], ...]
    size: int


def insert_unpack(model: Any, plan: Plan, nesting: Nesting) -> tuple[list[PackedSection], int]:
    """Adds one operator for each place where a planned weight is read.

    Returns:
        The sections, whose buffers are in the model without data and UNPLACED, and the index of the section table's
        buffer, which has its final size but not its final bytes.
    """
    sections = _pack_sections(model, plan, nesting)
    table, opcode = _add_table(model, nesting), _add_opcode(model)
    edits: dict[int, list[tuple[int, Any]]] = {}
    for number, weight in enumerate(plan.weights):
        operands = _operands(model, weight, [section.buffers[number] for section in sections], table)
        for site in _apart(model, weight.sites):
            operator = _operator(model, site, weight, operands, opcode)
            edits.setdefault(site.subgraph, []).append((min(site.operators), operator))
    for index in _unmarked(model, plan):
        edits.setdefault(index, []).append((0, _start(model, plan, sections, table, opcode, index)))
    for index, insertions in edits.items():
        operators = model.subgraphs[index].operators
        for position, operator in sorted(insertions, key=lambda edit: edit[0], reverse=True):
            operators.insert(position, operator)
    return sections, table


def _apart(model: Any, sites: tuple[Site, ...]) -> list[Site]:
    """Sites with a tensor each: lookups of a weight that layers read too get one of their own."""
    placed: list[Site] = []
    for site in sites:
        if any(each.place == site.place for each in placed):
            site = replace(site, tensor=_copied(model, site))
        placed.append(site)
    return placed


def _copied(model: Any, site: Site) -> int:
    """Another tensor like the site's, read by its operators instead."""
    subgraph = model.subgraphs[site.subgraph]
    old = subgraph.tensors[site.tensor]
    new = fb.add_tensor(subgraph, site.name, fb.shape(old), old.type, 0)
    subgraph.tensors[new].quantization = copy(old.quantization)
    for position in site.operators:
        operator = subgraph.operators[position]
        inputs, slot = fb.indices(operator.inputs), slots_of(model, operator).weight
        operator.inputs = [*inputs[:slot], new, *inputs[slot + 1 :]]
    return new


def _unmarked(model: Any, plan: Plan) -> set[int]:
    """Subgraphs that want a mark where an invocation starts: those invoked by themselves, if others hold weights."""
    invoked = {0, *(signature.subgraphIndex for signature in model.signatureDefs or [])}
    return invoked if {site.subgraph for weight in plan.weights for site in weight.sites} - invoked else set()


def _start(model: Any, plan: Plan, sections: list[PackedSection], table: int, opcode: int, index: int) -> Any:
    """The mark of a subgraph: the smallest weight of a called one, which has no bias of its own, for nobody."""
    subgraph = model.subgraphs[index]
    called = [number for number, weight in enumerate(plan.weights) if weight.level_biases is None]
    number = min(called, key=lambda each: plan.weights[each].codes.size)
    weight = plan.weights[number]
    operands = _operands(model, weight, [section.buffers[number] for section in sections], table)
    is_int8 = weight.output_type is OutputType.INT8
    tensor_type = schema.TensorType.INT8 if is_int8 else schema.TensorType.FLOAT32
    output = fb.add_tensor(subgraph, f"{weight.name}/start", weight.shape, tensor_type, 0)
    if is_int8:
        subgraph.tensors[output].quantization = _weight_quantization(weight)
    inputs = _level_tensors(model, subgraph, weight.name, operands)
    inputs += [inputs[-1], *_scale_tensors(subgraph, weight, operands)]
    options = list(replace(operands.block, is_start=True).pack() + _for_viewers(operands.block))
    return schema.OperatorT(opcodeIndex=opcode, inputs=inputs, outputs=[output], customOptions=options)


@dataclass(frozen=True)
class _Operands:
    """What every operator of one weight shares."""

    block: OptionBlock
    levels: list[int]  # buffers
    scale: int | None  # buffer
    table: int  # buffer


def _pack_sections(model: Any, plan: Plan, nesting: Nesting) -> list[PackedSection]:
    packed = [_pack_levels(weight) for weight in plan.weights]
    sections = []
    for level in range(len(nesting.precisions)):
        bodies = [levels[level] for levels in packed]
        offsets, size = lay_out([len(body) for body in bodies])
        buffers = [_external_buffer(model, len(body)) for body in bodies]
        sections.append(PackedSection(tuple(zip(buffers, offsets, bodies, strict=True)), size))
    return sections


def _pack_levels(weight: WeightPlan) -> list[bytes]:
    block, fields = weight.option_block(), split(weight.codes, weight.nesting)
    bodies = [pack(field, weight.layout, bits).tobytes() for field, bits in zip(fields, block.level_bits, strict=True)]
    if weight.level_biases is None:
        return bodies
    return [
        body + deltas.tobytes().ljust(block.delta_bytes(level), b"\0") if block.delta_bytes(level) else body
        for level, (body, deltas) in enumerate(zip(bodies, weight.level_biases.deltas, strict=True))
    ]


def _external_buffer(model: Any, size: int) -> int:
    model.buffers.append(schema.BufferT(data=None, offset=UNPLACED, size=size))
    return len(model.buffers) - 1


def _add_table(model: Any, nesting: Nesting) -> int:
    blank = SectionTable(tuple(Section(0, 1, 0, bits) for bits in nesting.precisions)).pack()
    buffer = fb.add_buffer(model, blank)
    model.metadata = [*(model.metadata or []), schema.MetadataT(name=METADATA_NAME, buffer=buffer)]
    return buffer


def _add_opcode(model: Any) -> int:
    custom = schema.BuiltinOperator.CUSTOM
    model.operatorCodes.append(
        schema.OperatorCodeT(
            deprecatedBuiltinCode=custom, customCode=CUSTOM_OP_NAME, version=CUSTOM_OP_VERSION, builtinCode=custom
        )
    )
    return len(model.operatorCodes) - 1


def _operands(model: Any, weight: WeightPlan, placed: list[tuple[int, int, bytes]], table: int) -> _Operands:
    is_float = weight.output_type is OutputType.FLOAT32
    return _Operands(
        block=weight.option_block([offset for _, offset, _ in placed]),
        levels=[buffer for buffer, _, _ in placed],
        scale=fb.add_buffer(model, weight.scales) if is_float else None,
        table=table,
    )


def _operator(model: Any, site: Site, weight: WeightPlan, operands: _Operands, opcode: int) -> Any:
    subgraph = model.subgraphs[site.subgraph]
    tensor = subgraph.tensors[site.tensor]
    first = subgraph.operators[min(site.operators)]
    activation = fb.indices(first.inputs)[slots_of(model, first).data]
    inputs = [*_level_tensors(model, subgraph, site.name, operands), activation]
    inputs += _scale_tensors(subgraph, weight, operands)
    tensor.buffer = 0
    _set_scales(tensor, weight.scales)
    outputs = [site.tensor]
    if weight.level_biases is None:
        _replace_biases(model, site, weight)
    else:
        base, bias = _own_bias(model, site, weight, weight.level_biases)
        inputs, outputs = [*inputs, base], [*outputs, bias]
    options = list(operands.block.pack() + _for_viewers(operands.block))
    return schema.OperatorT(opcodeIndex=opcode, inputs=inputs, outputs=outputs, customOptions=options)


def _level_tensors(model: Any, subgraph: Any, name: str, operands: _Operands) -> list[int]:
    """Inputs of an operator: the levels and the section table."""
    levels = [
        fb.add_tensor(
            subgraph, f"{name}/level{k}", [operands.block.level_bytes(k)], schema.TensorType.UINT8, operands.levels[k]
        )
        for k in range(len(operands.levels))
    ]
    return [*levels, _table_tensor(model, subgraph, operands.table)]


def _scale_tensors(subgraph: Any, weight: WeightPlan, operands: _Operands) -> list[int]:
    """The input with the scales of a weight that is read as floats."""
    if operands.scale is None:
        return []
    dims = [len(weight.scales)]
    return [fb.add_tensor(subgraph, f"{weight.name}/scale", dims, schema.TensorType.FLOAT32, operands.scale)]


def _table_tensor(model: Any, subgraph: Any, table: int) -> int:
    """The subgraph's one tensor on the section table."""
    for index, tensor in enumerate(subgraph.tensors):
        if tensor.buffer == table:
            return index
    size = len(model.buffers[table].data)
    return fb.add_tensor(subgraph, METADATA_NAME, [size], schema.TensorType.UINT8, table)


def _set_scales(tensor: Any, scales: NDArray[np.float32]) -> None:
    """Stores changed scales; a float tensor has none of its own."""
    if tensor.type == schema.TensorType.INT8:
        tensor.quantization.scale = [float(scale) for scale in scales]


def _replace_biases(model: Any, site: Site, weight: WeightPlan) -> None:
    """Gives a bias that was rescaled with its weight a tensor of its own: another operator may read the old one."""
    subgraph = model.subgraphs[site.subgraph]
    for position in site.operators:
        operator = subgraph.operators[position]
        inputs, reader = fb.indices(operator.inputs), slots_of(model, operator)
        values = weight.biases.get(TensorPlace(site.subgraph, reader.bias_of(operator)))
        if values is None or reader.bias is None:
            continue
        old, data = subgraph.tensors[inputs[reader.bias]], subgraph.tensors[inputs[reader.data]]
        new = fb.add_tensor(
            subgraph, fb.text(old.name) + "/rescaled", [len(values)], old.type, fb.add_buffer(model, values)
        )
        subgraph.tensors[new].quantization = _bias_quantization(data, weight)
        inputs[reader.bias] = new
        operator.inputs = inputs


def _own_bias(model: Any, site: Site, weight: WeightPlan, biases: LevelBiases) -> tuple[int, int]:
    """The operator's bias tensors, input and output; the weight's one reader reads the output."""
    subgraph = model.subgraphs[site.subgraph]
    [position] = site.operators
    operator = subgraph.operators[position]
    reader = slots_of(model, operator)
    slot = reader.bias
    if slot is None:
        raise ValueError(f"level biases of {weight.name!r}: expected a reader with a bias")
    inputs = [*fb.indices(operator.inputs), -1][: slot + 1]
    data, old = subgraph.tensors[inputs[reader.data]], inputs[slot]
    if old >= 0 and fb.constant(model, subgraph.tensors[old]) is None:
        raise ValueError(f"level biases of {weight.name!r}: expected a constant bias to replace, got a computed one")
    is_float, channels = weight.output_type is OutputType.FLOAT32, [len(biases.base)]
    tensor_type = schema.TensorType.FLOAT32 if is_float else schema.TensorType.INT32
    base = fb.add_tensor(subgraph, f"{site.name}/bias", channels, tensor_type, fb.add_buffer(model, biases.base))
    if old < 0 or old in fb.indices(subgraph.outputs) or fb.readers(subgraph)[old] != [(position, slot)]:
        name = site.name if old < 0 else fb.text(subgraph.tensors[old].name)
        output = fb.add_tensor(subgraph, name + MADE_BIAS, channels, tensor_type, 0)
    else:
        output = old  # keeps its name, as the weight does
        subgraph.tensors[old].buffer, subgraph.tensors[old].shape = 0, channels
    if not is_float:  # the reader asks for it; on the base it would cost 12 bytes a channel for nobody
        subgraph.tensors[output].quantization = _bias_quantization(data, weight)
    inputs[slot] = output
    operator.inputs = inputs
    return base, output


def _weight_quantization(weight: WeightPlan) -> Any:
    """Of an INT8 weight that the source does not have."""
    return schema.QuantizationParametersT(
        scale=weight.scales.tolist(),
        zeroPoint=[0] * len(weight.scales),
        quantizedDimension=CHANNEL_AXIS[weight.layout] if len(weight.scales) > 1 else 0,
    )


def _bias_quantization(data: Any, weight: WeightPlan) -> Any:
    """Of an int32 bias: its unit is input scale * weight scale."""
    input_scale = float(data.quantization.scale[0])
    return schema.QuantizationParametersT(
        scale=[float(np.float32(scale * input_scale)) for scale in weight.scales],
        zeroPoint=[0] * len(weight.scales),
        quantizedDimension=0,
    )


def _for_viewers(block: OptionBlock) -> bytes:
    """The block's facts as a FlexBuffer map: read from the end, so it may follow the block (FORMAT.md section 3)."""
    facts = {
        "layout": block.layout.name.lower(),
        "output": block.output_type.name.lower(),
        "channels": block.channels,
        "depth": block.depth,
        "level_bits": list(block.level_bits),
        "bias": block.has_bias,
    }
    return bytes(flexbuffers.Dumps(facts))


def empty_unused_buffers(model: Any) -> None:
    """Drops the bytes of the weights that were replaced; indices stay, for the level buffers are known by them."""
    used = {tensor.buffer for _, subgraph in fb.subgraphs(model) for tensor in subgraph.tensors}
    used |= {entry.buffer for entry in model.metadata or []} | set(fb.indices(model.metadataBuffer))
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def place_sections(model: Any, sections: list[PackedSection], starts: list[int]) -> None:
    """Gives every level buffer its final offset in the file."""
    for section, start in zip(sections, starts, strict=True):
        for index, offset, _ in section.buffers:
            model.buffers[index].offset = start + offset
