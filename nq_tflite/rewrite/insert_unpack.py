"""Replaces constant weights by NQ_UNPACK_DEQUANT operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from numpy.typing import NDArray

from nq_tflite import flatbuffer as fb
from nq_tflite.biases import LevelBiases
from nq_tflite.bitpack import pack
from nq_tflite.flatbuffer import schema
from nq_tflite.format import (
    CUSTOM_OP_NAME,
    CUSTOM_OP_VERSION,
    METADATA_NAME,
    OptionBlock,
    OutputType,
    Section,
    SectionTable,
    lay_out,
)
from nq_tflite.levels import split
from nq_tflite.plan import Plan, WeightPlan
from nq_tflite.sites import BIAS_SLOT, Site
from nq_tflite.spec import Nesting

#: Stands in a buffer's `offset` until the section's place in the file is known; any value above 1 keeps the field.
UNPLACED = 1 << 62
#: Ends the name of a bias that was made for a layer: behind the name of the shared one that it read, or of its weight.
MADE_BIAS = "/level_bias"


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
        for site in weight.sites:
            operator = _operator(model, site, weight, operands, opcode)
            edits.setdefault(site.subgraph, []).append((min(site.operators), operator))
    for index, insertions in edits.items():
        operators = model.subgraphs[index].operators
        for position, operator in sorted(insertions, key=lambda edit: edit[0], reverse=True):
            operators.insert(position, operator)
    _empty_unused_buffers(model)
    return sections, table


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
    tensor, types = subgraph.tensors[site.tensor], schema.TensorType
    inputs = [
        fb.add_tensor(subgraph, f"{site.name}/level{k}", [operands.block.level_bytes(k)], types.UINT8, buffer)
        for k, buffer in enumerate(operands.levels)
    ]
    activation = fb.indices(subgraph.operators[min(site.operators)].inputs)[0]
    inputs += [_table_tensor(model, subgraph, operands.table), activation]
    if operands.scale is not None:
        dims = [len(weight.scales)]
        inputs.append(fb.add_tensor(subgraph, f"{site.name}/scale", dims, types.FLOAT32, operands.scale))
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
        inputs = fb.indices(subgraph.operators[position].inputs)
        for slot, index in enumerate(inputs[2:], start=2):
            if (site.subgraph, index) not in weight.biases:
                continue
            values = weight.biases[site.subgraph, index]
            old, data = subgraph.tensors[index], subgraph.tensors[inputs[0]]
            new = fb.add_tensor(
                subgraph, fb.text(old.name) + "/rescaled", [len(values)], old.type, fb.add_buffer(model, values)
            )
            subgraph.tensors[new].quantization = _bias_quantization(data, weight)
            inputs[slot] = new
        subgraph.operators[position].inputs = inputs


def _own_bias(model: Any, site: Site, weight: WeightPlan, biases: LevelBiases) -> tuple[int, int]:
    """The operator's bias tensors, input and output; the weight's one reader reads the output."""
    subgraph = model.subgraphs[site.subgraph]
    [position] = site.operators
    reader = subgraph.operators[position]
    inputs = [*fb.indices(reader.inputs), -1][: BIAS_SLOT + 1]
    data, old = subgraph.tensors[inputs[0]], inputs[BIAS_SLOT]
    if old >= 0 and fb.constant(model, subgraph.tensors[old]) is None:
        raise ValueError(f"level biases of {weight.name!r}: expected a constant bias to replace, got a computed one")
    is_float, channels = weight.output_type is OutputType.FLOAT32, [len(biases.base)]
    tensor_type = schema.TensorType.FLOAT32 if is_float else schema.TensorType.INT32
    base = fb.add_tensor(subgraph, f"{site.name}/bias", channels, tensor_type, fb.add_buffer(model, biases.base))
    if old < 0 or old in fb.indices(subgraph.outputs) or fb.consumers(subgraph)[old] != [(position, BIAS_SLOT)]:
        name = site.name if old < 0 else fb.text(subgraph.tensors[old].name)
        output = fb.add_tensor(subgraph, name + MADE_BIAS, channels, tensor_type, 0)
    else:
        output = old  # keeps its name, as the weight does
        subgraph.tensors[old].buffer, subgraph.tensors[old].shape = 0, channels
    if not is_float:  # the reader asks for it; on the base it would cost 12 bytes a channel for nobody
        subgraph.tensors[output].quantization = _bias_quantization(data, weight)
    inputs[BIAS_SLOT] = output
    reader.inputs = inputs
    return base, output


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


def _empty_unused_buffers(model: Any) -> None:
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
