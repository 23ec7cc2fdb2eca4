"""Reading nested files: every rule of FORMAT.md that can be checked without the native library."""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import FormatError
from nq_tflite.format.biases import correct
from nq_tflite.format.bitpack import CHANNEL_AXIS, unpack
from nq_tflite.format.constants import BUFFER_ALIGNMENT, CUSTOM_OP_NAME, METADATA_NAME, OutputType
from nq_tflite.format.groups import GroupScales, group_scale_shape, spread
from nq_tflite.format.levels import Codes, merge, value_at
from nq_tflite.format.nesting import Nesting
from nq_tflite.format.option_block import OptionBlock
from nq_tflite.format.section_table import SectionTable
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import ModelFile
from nq_tflite.graph.model import ModelT, SubGraphT, TensorT
from nq_tflite.graph.quantization import scales_of
from nq_tflite.graph.sites import as_weight


@dataclass(frozen=True)
class NestedWeight:
    """One NQ_UNPACK_DEQUANT operator, checked.

    Attributes:
        subgraph, operator: where it stands.
        tensor: the weight tensor that it gives.
        bias_tensor: the bias tensor that it gives, if it does.
        name, shape, consumer: the weight's name and shape, and the name of the operator that reads it.
        block: its option block.
        scales: float32 [1], [channels] or, with groups, [channels, groups].
        channel_scales: float32 [1] or [channels], the units of bias deltas.
        levels: packed bytes of each level, uint8.
        base_bias: the bias of the levels without deltas, if the operator gives one.
    """

    subgraph: int
    operator: int
    tensor: int
    bias_tensor: int | None
    name: str
    shape: tuple[int, ...]
    consumer: str
    block: OptionBlock
    scales: NDArray[np.float32]
    channel_scales: NDArray[np.float32]
    levels: tuple[NDArray[np.uint8], ...]
    base_bias: NDArray[Any] | None

    @property
    def nesting(self) -> Nesting:
        """The weight's own bit-widths."""
        return Nesting(tuple(int(total) for total in np.cumsum(self.block.level_bits)[::-1]))

    def codes(self) -> Codes:
        """The full-bit codes: int8 [channels, depth]."""
        block = self.block
        fields = []
        for level, (packed, bits) in enumerate(zip(self.levels, block.level_bits, strict=True)):
            superblocks = packed[: block.packed_bytes(level)]
            fields.append(unpack(superblocks, block.layout, bits, block.channels, block.depth))
        return merge(fields, self.nesting)

    def values(self, level: int) -> NDArray[Any]:
        """The weight tensor with levels 0 to `level` in use, in its own type and shape."""
        block = self.block
        values: NDArray[Any] = value_at(self.codes(), self.nesting, level)
        if block.output_type is OutputType.FLOAT32:
            values = values.astype(np.float32) * spread(self.scales, block.depth)
        return as_weight(values, block.layout, self.shape)

    def bias(self, level: int) -> NDArray[Any]:
        """The bias with levels 0 to `level` in use (FORMAT.md section 4.5)."""
        _require(self.base_bias is not None, f"bias of {self.name!r}", "an operator that gives one", "none")
        block, base = self.block, np.asarray(self.base_bias)
        if not block.delta_bytes(level):
            return base
        start = block.packed_bytes(level)
        delta = self.levels[level][start : start + block.channels].view(np.int8)
        return correct(base, delta, np.float32(block.levels[level].bias_step), self.channel_scales)


@dataclass(frozen=True)
class NestedFile:
    """A nested model as it stands in its file."""

    file: ModelFile
    table: SectionTable
    weights: list[NestedWeight]
    starts: list[NestedWeight]  # marks where invocations start, on the levels of one of the weights

    @property
    def precisions(self) -> tuple[int, ...]:
        """Bits of each precision, part-bit first."""
        return self.table.precisions


def read_nested(source: str | os.PathLike[str] | bytes) -> NestedFile:
    """Reads a nested file and checks it against FORMAT.md, the checksums of its sections included.

    Raises:
        FormatError: not a flatbuffer, not nested, or a broken rule.
    """
    file = fb.read_model(source)
    tables = [m.buffer for m in file.model.metadata or [] if fb.text(m.name) == METADATA_NAME]
    data = file.model.buffers[tables[0]].data if len(tables) == 1 else None
    if data is None:
        raise FormatError(
            "model content" if isinstance(source, bytes) else os.fspath(source),
            expected=f"a nested model (metadata {METADATA_NAME})",
            got="a stock model" if not tables else f"{len(tables)} tables",
            fix="Make one with nq.convert or nq-tflite convert.",
        )
    table = SectionTable.parse(bytes(data))
    found = [
        _read_weight(file, table, tables[0], index, position)
        for index, subgraph in fb.subgraphs(file.model)
        for position, operator in enumerate(subgraph.operators)
        if fb.custom_name(file.model, operator) == CUSTOM_OP_NAME
    ]
    _check_sections(file, table, _ranges(file, table, found))
    starts = [weight for weight in found if weight.block.is_start]
    return NestedFile(file, table, [weight for weight in found if not weight.block.is_start], starts)


def is_nested(file: ModelFile) -> bool:
    """Whether the model has a section table."""
    return any(fb.text(entry.name) == METADATA_NAME for entry in file.model.metadata or [])


def _read_weight(file: ModelFile, table: SectionTable, table_buffer: int, index: int, position: int) -> NestedWeight:
    model, subgraph = file.model, file.model.subgraphs[index]
    operator = subgraph.operators[position]
    block = OptionBlock.parse(bytes(operator.customOptions if operator.customOptions is not None else b""))
    inputs, outputs = fb.indices(operator.inputs), fb.indices(operator.outputs)
    count = len(block.levels)
    is_float, has_groups = block.output_type is OutputType.FLOAT32, block.group_size > 0
    num_inputs = count + 2 + is_float + has_groups + block.has_bias
    _require(count == len(table.sections), "levels of an operator", len(table.sections), count)
    _require(len(inputs) == num_inputs, "inputs", num_inputs, len(inputs))
    _require(len(outputs) == 1 + block.has_bias, "outputs", 1 + block.has_bias, len(outputs))
    tensors = [_tensor(subgraph, i) for i in inputs]
    weight, *biases = [_tensor(subgraph, i) for i in outputs]
    name = fb.text(weight.name)
    _require(tensors[count].buffer == table_buffer, f"section table of {name!r}", table_buffer, tensors[count].buffer)
    _check_shape(block, fb.shape(weight), weight.type, name)
    for level, tensor in enumerate(tensors[:count]):
        _check_level(file, table, block, level, tensor.buffer, name)
    scales = channels = _scales(model, weight, tensors[count + 2] if is_float else None, block, name)
    if has_groups:
        scales = _group_scales(model, tensors[count + 3], channels, block, name)
    return NestedWeight(
        subgraph=index,
        operator=position,
        tensor=outputs[0],
        bias_tensor=outputs[1] if block.has_bias else None,
        name=name,
        shape=fb.shape(weight),
        consumer=_reader_name(model, subgraph, outputs[0]),
        block=block,
        scales=scales,
        channel_scales=channels,
        levels=tuple(np.asarray(model.buffers[tensor.buffer].data, np.uint8) for tensor in tensors[:count]),
        base_bias=_base_bias(model, tensors[-1], biases[0], block, name) if biases else None,
    )


def _tensor(subgraph: SubGraphT, index: int) -> TensorT:
    _require(0 <= index < len(subgraph.tensors), "tensor index", f"below {len(subgraph.tensors)}", index)
    return subgraph.tensors[index]


def _check_shape(block: OptionBlock, dims: tuple[int, ...], tensor_type: int, name: str) -> None:
    axis = CHANNEL_AXIS[block.layout]
    fits = len(dims) >= 2 and min(dims) > 0
    channels = dims[-1 if axis else 0] if fits else 0
    depth = math.prod(dims) // channels if channels else 0
    wanted = (block.channels, block.depth, int(block.output_type))
    _require(
        (channels, depth, tensor_type) == wanted,
        f"channels, depth and type of {name!r}",
        wanted,
        f"{dims}, type {tensor_type}",
    )


def _check_level(file: ModelFile, table: SectionTable, block: OptionBlock, level: int, buffer: int, name: str) -> None:
    section, options, what = table.sections[level], block.levels[level], f"level {level} of {name!r}"
    _require(buffer in file.external, what, "bytes outside the flatbuffer root", "an inline buffer")
    wanted = (section.offset + options.offset, block.level_bytes(level))
    _require(file.external[buffer] == wanted, f"{what} (offset, size)", wanted, file.external[buffer])
    _require(
        options.offset % BUFFER_ALIGNMENT == 0, f"offset of {what}", f"a multiple of {BUFFER_ALIGNMENT}", options.offset
    )
    _require(
        sum(wanted) <= section.offset + section.size,
        f"end of {what}",
        f"at most {section.offset + section.size}",
        sum(wanted),
    )


def _ranges(file: ModelFile, table: SectionTable, weights: list[NestedWeight]) -> list[list[tuple[int, int]]]:
    """(start, end) in the file of every level buffer, by level, each once."""
    ranges: list[set[tuple[int, int]]] = [set() for _ in table.sections]
    for weight in weights:
        for level, options in enumerate(weight.block.levels):
            start = table.sections[level].offset + options.offset
            ranges[level].add((start, start + weight.block.level_bytes(level)))
    return [sorted(level) for level in ranges]


def _check_sections(file: ModelFile, table: SectionTable, ranges: list[list[tuple[int, int]]]) -> None:
    data = {offset: np.asarray(file.model.buffers[index].data).data for index, (offset, _) in file.external.items()}
    for level, (section, buffers) in enumerate(zip(table.sections, ranges, strict=True)):
        what, end = f"section {level}", section.offset + section.size
        _require(end <= file.size, what, f"an end within {file.size} bytes", end)
        _require(
            bool(buffers) and (buffers[0][0], buffers[-1][1]) == (section.offset, end),
            what,
            "buffers from end to end",
            buffers[:1],
        )
        checksum, position = 0, section.offset
        for start, stop in buffers:
            _require(start >= position, f"buffers of {what}", f"a start at {position} or behind", start)
            checksum = zlib.crc32(bytes(start - position), checksum)
            checksum = zlib.crc32(data[start], checksum)
            position = stop
        _require(checksum == section.crc32, f"checksum of {what}", f"{section.crc32:#010x}", f"{checksum:#010x}")


def _scales(
    model: ModelT, weight: TensorT, scale: TensorT | None, block: OptionBlock, name: str
) -> NDArray[np.float32]:
    what = f"scales of {name!r}"
    if scale is not None:
        values = _constant(model, scale, (block.channels,), what).astype(np.float32)
        _require(bool(np.isfinite(values).all() and (values >= 0).all()), what, "finite, not negative", "others")
        return values
    values = scales_of(weight)
    _require(len(values) in (1, block.channels), what, f"1 or {block.channels}", len(values))
    if len(values) > 1 and weight.quantization is not None:
        axis, found = CHANNEL_AXIS[block.layout], weight.quantization.quantizedDimension
        _require(found == axis, f"axis of {what}", axis, found)
    _require(bool(np.isfinite(values).all() and (values > 0).all()), what, "finite and positive", "others")
    return values


def _group_scales(
    model: ModelT, tensor: TensorT, channels: NDArray[np.float32], block: OptionBlock, name: str
) -> NDArray[np.float32]:
    """Scales of groups: float32 [channels, groups]."""
    what = f"group scales of {name!r}"
    shape = group_scale_shape(block.channels, block.depth, block.group_size)
    wanted, found = (fb.schema.TensorType.FLOAT16, shape), (tensor.type, fb.shape(tensor))
    _require(found == wanted, f"type and shape of {what}", wanted, found)
    return GroupScales.unpack(channels, _constant(model, tensor, shape, what), what).values


def _base_bias(model: ModelT, given: TensorT, output: TensorT, block: OptionBlock, name: str) -> NDArray[Any]:
    what = f"bias of {name!r}"
    is_float = block.output_type is OutputType.FLOAT32
    wanted = fb.schema.TensorType.FLOAT32 if is_float else fb.schema.TensorType.INT32, (block.channels,)
    for tensor in (given, output):
        found = tensor.type, fb.shape(tensor)
        _require(found == wanted, f"type and shape of {what}", wanted, found)
    return _constant(model, given, (block.channels,), what)


def _constant(model: ModelT, tensor: TensorT, dims: tuple[int, ...], what: str) -> NDArray[Any]:
    values = fb.constant(model, tensor)
    if values is None or values.shape != dims:
        raise _damaged(what, f"a constant of shape {list(dims)}", "another")
    return values


def _reader_name(model: ModelT, subgraph: SubGraphT, tensor: int) -> str:
    uses = fb.readers(subgraph).get(tensor, [])
    return fb.operator_name(model, subgraph.operators[uses[0].position]) if uses else "none"


def _require(condition: bool, what: str, expected: object, got: object) -> None:
    if not condition:
        raise _damaged(what, expected, got)


def _damaged(what: str, expected: object, got: object) -> FormatError:
    return FormatError(what, expected=str(expected), got=str(got), fix="The file is damaged: copy or convert it again.")
