"""Replaces constant weights by NQ_UNPACK_DEQUANT operators."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

from flatbuffers import flexbuffers

from nq_tflite.conversion.insert_biases import insert_level_bias, insert_rescaled_biases
from nq_tflite.conversion.packed_levels import PackedLevel
from nq_tflite.conversion.plan import Plan
from nq_tflite.conversion.weight_plan import WeightPlan
from nq_tflite.format.bitpack import CHANNEL_AXIS
from nq_tflite.format.constants import CUSTOM_OP_NAME, CUSTOM_OP_VERSION, METADATA_NAME, OutputType
from nq_tflite.format.groups import GroupScales, group_scale_shape
from nq_tflite.format.option_block import OptionBlock
from nq_tflite.format.section_table import table_bytes
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, OperatorT, SubGraphT
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.sites import Site


@dataclass(frozen=True)
class NestedBuffers:
    """The buffers that a nested file adds to a model, by their indices.

    Attributes:
        levels: for each level the buffers of all weights, in the plan's order.
        table: of the section table: zeros of its size.
    """

    levels: tuple[tuple[int, ...], ...]
    table: int


@dataclass(frozen=True)
class _Operands:
    """What every operator of one weight shares.

    Attributes:
        weight: as planned.
        block: its options.
        levels: buffer of each level.
        scales: buffers of the scales and of the groups' scales, those that the operator reads.
        table: buffer of the section table.
        opcode: index of the operator code.
    """

    weight: WeightPlan
    block: OptionBlock
    levels: tuple[int, ...]
    scales: tuple[int, ...]
    table: int
    opcode: int


@dataclass(frozen=True)
class _Insertion:
    """An operator that goes into a subgraph, before the one that stands at a position now."""

    subgraph: int
    position: int
    operator: OperatorT


def insert_unpack(model: ModelT, plan: Plan, levels: Sequence[PackedLevel]) -> NestedBuffers:
    """Adds one operator for each place where a planned weight is read, and a mark where an invocation starts.

    Args:
        model: changed in place; the level buffers hold the levels' bytes, as if they had been read from a file.
        plan: what becomes of its weights.
        levels: of the plan's weights.
    """
    buffers, opcode = _add_buffers(model, levels), _add_opcode(model)

    def operands_of(number: int) -> _Operands:
        weight = plan.weights[number]
        return _Operands(
            weight=weight,
            block=weight.option_block([level.parts[number][0] for level in levels]),
            levels=tuple(of_weights[number] for of_weights in buffers.levels),
            scales=_add_scales(model, weight),
            table=buffers.table,
            opcode=opcode,
        )

    insertions = []
    for number, weight in enumerate(plan.weights):
        operands = operands_of(number)
        insertions += [_unpack(model, site, operands) for site in _apart(model, weight.sites)]
    for index in _unmarked(model, plan):
        insertions.append(_start(model, index, operands_of(_smallest_without_bias(plan))))
    for each in sorted(insertions, key=lambda insertion: insertion.position, reverse=True):
        model.subgraphs[each.subgraph].operators.insert(each.position, each.operator)
    return buffers


def _add_buffers(model: ModelT, levels: Sequence[PackedLevel]) -> NestedBuffers:
    of_levels = []
    for level in levels:
        first = len(model.buffers)
        model.buffers += [fb.new_buffer(level.part(number)) for number in range(len(level.parts))]
        of_levels.append(tuple(range(first, len(model.buffers))))
    table = fb.add_buffer(model, bytes(table_bytes(len(levels))))
    model.metadata = [*(model.metadata or []), fb.new_metadata(METADATA_NAME, table)]
    return NestedBuffers(tuple(of_levels), table)


def _add_scales(model: ModelT, weight: WeightPlan) -> tuple[int, ...]:
    if weight.output_type is not OutputType.FLOAT32:
        return ()
    if not weight.group_size:
        return (fb.add_buffer(model, weight.scales),)
    stored = GroupScales.of(weight.scales)
    return fb.add_buffer(model, stored.channel), fb.add_buffer(model, stored.pack())


def _add_opcode(model: ModelT) -> int:
    model.operatorCodes.append(fb.new_custom_code(CUSTOM_OP_NAME, CUSTOM_OP_VERSION))
    return len(model.operatorCodes) - 1


# ---- the operator of a weight ----------------------------------------------------------------------------------------


def _apart(model: ModelT, sites: tuple[Site, ...]) -> list[Site]:
    """Sites with a tensor each: lookups of a weight that layers read too get one of their own."""
    placed: list[Site] = []
    for site in sites:
        if any(each.place == site.place for each in placed):
            site = replace(site, tensor=_copied(model, site))
        placed.append(site)
    return placed


def _copied(model: ModelT, site: Site) -> int:
    """Another tensor like the site's, read by its operators instead."""
    subgraph = model.subgraphs[site.subgraph]
    old = subgraph.tensors[site.tensor]
    new = fb.add_tensor(subgraph, site.name, fb.shape(old), old.type, 0)
    subgraph.tensors[new].quantization = copy(old.quantization)
    for position in site.operators:
        operator = subgraph.operators[position]
        inputs, slot = fb.indices(operator.inputs), slots_of(model, operator).slot_of(operator, site.tensor)
        operator.inputs = [*inputs[:slot], new, *inputs[slot + 1 :]]
    return new


def _unpack(model: ModelT, site: Site, operands: _Operands) -> _Insertion:
    """The operator that gives the weight tensor of a site, and its bias if levels have biases of their own."""
    weight, subgraph, position = operands.weight, model.subgraphs[site.subgraph], min(site.operators)
    first = subgraph.operators[position]
    activation = slots_of(model, first).data_of(first)
    inputs = [*_level_inputs(subgraph, site.name, operands), activation]
    inputs += _scale_inputs(subgraph, operands)
    outputs = [site.tensor]
    _make_computed(subgraph, site, weight)
    if weight.level_biases is None:
        insert_rescaled_biases(model, site, weight)
    else:
        base, bias = insert_level_bias(model, site, weight, weight.level_biases)
        inputs, outputs = [*inputs, base], [*outputs, bias]
    return _Insertion(site.subgraph, position, _operator(operands.block, operands.opcode, inputs, outputs))


def _make_computed(subgraph: SubGraphT, site: Site, weight: WeightPlan) -> None:
    """Takes a weight tensor's constant away, and gives it the plan's scales."""
    tensor = subgraph.tensors[site.tensor]
    tensor.buffer, tensor.quantization = 0, weight.weight_quantization(tensor)


def _operator(block: OptionBlock, opcode: int, inputs: list[int], outputs: list[int]) -> OperatorT:
    return fb.new_operator(opcode, inputs, outputs, block.pack() + _for_viewers(block))


def _level_inputs(subgraph: SubGraphT, name: str, operands: _Operands) -> list[int]:
    """The levels and the section table."""
    levels = [
        fb.add_tensor(subgraph, f"{name}/level{k}", [operands.block.level_bytes(k)], schema.TensorType.UINT8, buffer)
        for k, buffer in enumerate(operands.levels)
    ]
    return [*levels, _table_input(subgraph, operands)]


def _table_input(subgraph: SubGraphT, operands: _Operands) -> int:
    """The subgraph's one tensor on the section table."""
    for index, tensor in enumerate(subgraph.tensors):
        if tensor.buffer == operands.table:
            return index
    size = table_bytes(len(operands.levels))
    return fb.add_tensor(subgraph, METADATA_NAME, [size], schema.TensorType.UINT8, operands.table)


def _scale_inputs(subgraph: SubGraphT, operands: _Operands) -> list[int]:
    """The scales of a weight that is read as floats."""
    block, name = operands.block, operands.weight.name
    kinds: list[tuple[str, tuple[int, ...], int]] = [("scale", (block.channels,), schema.TensorType.FLOAT32)]
    if block.group_size:
        shape = group_scale_shape(block.channels, block.depth, block.group_size)
        kinds.append(("group_scale", shape, schema.TensorType.FLOAT16))
    return [
        fb.add_tensor(subgraph, f"{name}/{kind}", dims, tensor_type, buffer)
        for (kind, dims, tensor_type), buffer in zip(kinds, operands.scales, strict=False)
    ]


def _for_viewers(block: OptionBlock) -> bytes:
    """The block's facts as a FlexBuffer map: read from the end, so it may follow the block (FORMAT.md section 3)."""
    facts = {
        "layout": block.layout.name.lower(),
        "output": block.output_type.name.lower(),
        "channels": block.channels,
        "depth": block.depth,
        "level_bits": list(block.level_bits),
        "bias": block.has_bias,
        **({"group_size": block.group_size} if block.group_size else {}),
    }
    return bytes(flexbuffers.Dumps(facts))


# ---- the mark of an invocation's start -------------------------------------------------------------------------------


def _unmarked(model: ModelT, plan: Plan) -> set[int]:
    """Subgraphs that need a mark where an invocation starts: those invoked by themselves, if others hold weights."""
    invoked = {0, *(signature.subgraphIndex for signature in model.signatureDefs or [])}
    return invoked if {site.subgraph for weight in plan.weights for site in weight.sites} - invoked else set()


def _smallest_without_bias(plan: Plan) -> int:
    """Number of the weight that a mark unpacks: weights of called subgraphs have no biases of their own."""
    called = [number for number, weight in enumerate(plan.weights) if weight.level_biases is None]
    return min(called, key=lambda number: plan.weights[number].codes.size)


def _start(model: ModelT, index: int, operands: _Operands) -> _Insertion:
    """The mark of a subgraph: an operator that gives a weight to nobody."""
    subgraph, weight = model.subgraphs[index], operands.weight
    is_int8 = weight.output_type is OutputType.INT8
    tensor_type = schema.TensorType.INT8 if is_int8 else schema.TensorType.FLOAT32
    output = fb.add_tensor(subgraph, f"{weight.name}/start", weight.shape, tensor_type, 0)
    if is_int8:
        axis = CHANNEL_AXIS[weight.layout] if len(weight.scales) > 1 else 0
        subgraph.tensors[output].quantization = fb.new_quantization(weight.scales, axis)
    inputs = _level_inputs(subgraph, weight.name, operands)
    inputs += [inputs[-1], *_scale_inputs(subgraph, operands)]
    block = replace(operands.block, is_start=True)
    return _Insertion(index, 0, _operator(block, operands.opcode, inputs, [output]))
