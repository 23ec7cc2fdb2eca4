"""The only module that knows TFLite's schema: reading, writing and looking around in a flatbuffer."""

from __future__ import annotations

import importlib
import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import FormatError, MissingPackageError, how_to_install
from nq_tflite.files import IDENTIFIER, check_model_bytes, check_name, unreadable, write_whole
from nq_tflite.graph.model import (
    BufferT,
    InputSlot,
    IntVector,
    MetadataT,
    ModelT,
    OperatorCodeT,
    OperatorT,
    QuantizationT,
    SubGraphT,
    TensorPlace,
    TensorT,
)

#: Values of a tensor, of any type.
Array = NDArray[Any]

_SCHEMAS = ("ai_edge_litert.schema_py_generated", "tensorflow.lite.python.schema_py_generated")
#: What the generated reader raises on bytes that are no flatbuffer.
_READ_ERRORS = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


def load_schema() -> ModuleType:
    """TFLite's schema with its object API, from ai-edge-litert or tensorflow.

    Raises:
        MissingPackageError: neither is installed.
    """
    for name in _SCHEMAS:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise MissingPackageError(
        "reading .tflite files",
        expected="ai-edge-litert or tensorflow",
        got="neither",
        fix=f"Install one: {how_to_install('litert')}.",
    )


schema = load_schema()


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


_BUILTIN_NAMES, _TYPE_NAMES = _names(schema.BuiltinOperator), _names(schema.TensorType)
#: Types of the constants that this package looks into.
_DTYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.UINT8: np.uint8,
}
#: Types whose codes share bytes, the first one in the lowest bits, and how many do.
_IN_A_BYTE = {schema.TensorType.INT4: 2, schema.TensorType.INT2: 4}


@dataclass(frozen=True)
class ModelFile:
    """A flatbuffer in memory.

    Attributes:
        model: every buffer has its data, wherever it lay in the file.
        external: (offset, size) in the file of the buffers that lay outside the flatbuffer root.
        size: bytes of the file.
    """

    model: ModelT
    external: dict[int, tuple[int, int]]
    size: int


def read_model(source: str | os.PathLike[str] | bytes) -> ModelFile:
    """Reads a .tflite file, or its bytes.

    Raises:
        FormatError: not a whole TFLite flatbuffer.
    """
    name = "model content" if isinstance(source, bytes) else os.fspath(source)
    if not isinstance(source, bytes):
        check_name(source, FormatError)
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise unreadable(name, "a readable .tflite file", error) from error
    check_model_bytes(name, data[:8], len(data))
    try:
        _check_counts(data)
        model: ModelT = schema.ModelT.InitFromPackedBuf(bytearray(data), 0)
        _fill(model)
        external = {i: (b.offset, b.size) for i, b in enumerate(model.buffers) if b.offset > 1}
        for index in external:
            _bring_in(model.buffers[index], index, data)
        _check_indices(model)
    except _READ_ERRORS as error:
        raise FormatError(
            name, expected="a whole flatbuffer", got=f"damaged bytes ({error})", fix="Copy or convert the file again."
        ) from error
    if model.version != 3 or not model.subgraphs:
        raise FormatError(
            name,
            expected="schema version 3 with a subgraph",
            got=f"version {model.version} with {len(model.subgraphs or [])} subgraphs",
            fix="Convert the model again with a current tf.lite.TFLiteConverter.",
        )
    return ModelFile(model, external, len(data))


def _check_counts(data: bytes) -> None:
    """The file has room for a reference to each table: in a hostile one a few tables may stand for billions."""
    root, most = schema.Model.GetRootAs(bytearray(data), 0), len(data) // 4
    count = 0
    for length in _table_counts(root):
        count += length
        if count > most:
            raise ValueError(f"more than {most} tables in {len(data)} bytes")


def _table_counts(root: Any) -> Iterator[int]:
    """Lengths of a model's vectors of tables, one by one, the outer ones first."""
    yield root.SubgraphsLength()
    yield root.SignatureDefsLength()
    if hasattr(root, "ExternalBuffersLength"):  # a schema of LiteRT's
        yield root.ExternalBuffersLength() + root.ExternalBufferGroupsLength()
    for index in range(root.SubgraphsLength()):
        subgraph = root.Subgraphs(index)
        yield subgraph.TensorsLength() + subgraph.OperatorsLength()
    for index in range(root.SignatureDefsLength()):
        signature = root.SignatureDefs(index)
        yield signature.InputsLength() + signature.OutputsLength()


def _fill(model: ModelT) -> None:
    """Gives a model the vectors that a file may leave out because they are empty, and that everything goes through."""
    model.operatorCodes = model.operatorCodes or []
    for _, subgraph in subgraphs(model):
        subgraph.operators = subgraph.operators or []


def _bring_in(buffer: BufferT, index: int, data: bytes) -> None:
    if buffer.offset + buffer.size > len(data):
        raise ValueError(f"buffer {index} ends at {buffer.offset + buffer.size}, the file at {len(data)}")
    buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
    buffer.offset = buffer.size = 0


def _check_indices(model: ModelT) -> None:
    """Every index in the graph points at something, so that no later code need look."""
    for number, subgraph in subgraphs(model):
        tensors = range(-1, len(subgraph.tensors))
        for tensor in subgraph.tensors:
            _within(tensor.buffer, range(len(model.buffers)), "buffer of a tensor")
            if any(size < 0 for size in indices(tensor.shape)):
                raise ValueError(f"a shape {shape(tensor)}")
        for operator in subgraph.operators:
            _within(operator.opcodeIndex, range(len(model.operatorCodes)), "operator code")
            for index in indices(operator.inputs) + indices(operator.outputs) + indices(operator.intermediates):
                _within(index, tensors, f"tensor in subgraph {number}")
        for index in indices(subgraph.inputs) + indices(subgraph.outputs):
            _within(index, tensors[1:], f"input or output of subgraph {number}")
    for entry in model.metadata or []:
        _within(entry.buffer, range(len(model.buffers)), "buffer of metadata")
    for signature in model.signatureDefs or []:
        _within(signature.subgraphIndex, range(len(model.subgraphs)), "subgraph of a signature")


def _within(index: int, allowed: range, what: str) -> None:
    if index not in allowed:
        raise ValueError(f"{what} has index {index} of {allowed.stop}")


def pack_model(model: ModelT, external: Mapping[int, tuple[int, int]] | None = None) -> bytes:
    """The flatbuffer root of a model.

    Args:
        model: every buffer with its data.
        external: (offset, size) in the file of the buffers whose data stay out of the root, as in `ModelFile`.
    """
    builder = flatbuffers.Builder(1 << 20)
    places = external or {}
    model.buffers = [_AlignedBuffer(each.data, *places.get(k, (0, 0))) for k, each in enumerate(model.buffers)]
    builder.Finish(schema.ModelT.Pack(model, builder), IDENTIFIER)
    return bytes(builder.Output())


def write_model(path: str | os.PathLike[str], model: ModelT) -> int:
    """Writes a model without parts outside its flatbuffer root, whole or not at all; returns its size.

    Raises:
        OutputError: it cannot be written.
    """
    return write_whole(path, [(0, pack_model(model))])


class _AlignedBuffer:
    """A buffer whose data starts at a multiple of 16, as the schema demands; generated code forgets."""

    def __init__(self, data: NDArray[np.uint8] | None, offset: int, size: int) -> None:
        self.data, self.offset, self.size = data, offset, size

    def Pack(self, builder: Any) -> int:  # noqa: N802 (the schema's name)
        data = None if self.data is None or self.offset else np.asarray(self.data, np.uint8)
        if data is not None and len(data):
            builder.StartVector(1, len(data), 16)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data.tobytes()
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None and len(data):
            schema.BufferAddData(builder, vector)
        schema.BufferAddOffset(builder, self.offset)
        schema.BufferAddSize(builder, self.size)
        return int(schema.BufferEnd(builder))


# ---- making its objects ----------------------------------------------------------------------------------------------


def new_buffer(data: NDArray[np.uint8] | None = None) -> BufferT:
    """A buffer with its bytes."""
    buffer: BufferT = schema.BufferT(data=data)
    return buffer


def new_tensor(name: bytes | str | None, dims: IntVector | None, tensor_type: int, buffer: int = 0) -> TensorT:
    """A tensor of known rank."""
    tensor: TensorT = schema.TensorT(shape=dims, type=tensor_type, buffer=buffer, name=name, hasRank=True)
    return tensor


def new_quantization(scales: NDArray[np.float32], axis: int = 0) -> QuantizationT:
    """Symmetric quantization: float32 [1] or [channels] along an axis, zero points of 0."""
    quantization: QuantizationT = schema.QuantizationParametersT(
        scale=scales.tolist(), zeroPoint=[0] * len(scales), quantizedDimension=axis
    )
    return quantization


def new_range(low: float, high: float) -> QuantizationT:
    """The range of a float activation that is to be quantized."""
    quantization: QuantizationT = schema.QuantizationParametersT(min=[low], max=[high])
    return quantization


def new_operator(opcode: int, inputs: list[int], outputs: list[int], custom_options: bytes | None = None) -> OperatorT:
    """An operator without builtin options."""
    options = None if custom_options is None else list(custom_options)
    operator: OperatorT = schema.OperatorT(opcodeIndex=opcode, inputs=inputs, outputs=outputs, customOptions=options)
    return operator


def add_builtin_code(model: ModelT, code: int, version: int = 1) -> int:
    """Appends the operator code of a builtin operator; returns its index."""
    deprecated = min(code, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    model.operatorCodes.append(
        schema.OperatorCodeT(deprecatedBuiltinCode=deprecated, version=version, builtinCode=code)
    )
    return len(model.operatorCodes) - 1


def new_custom_code(name: str, version: int) -> OperatorCodeT:
    """The operator code of a custom operator."""
    custom = schema.BuiltinOperator.CUSTOM
    code: OperatorCodeT = schema.OperatorCodeT(
        deprecatedBuiltinCode=custom, customCode=name, version=version, builtinCode=custom
    )
    return code


def new_metadata(name: str, buffer: int) -> MetadataT:
    """A named buffer."""
    metadata: MetadataT = schema.MetadataT(name=name, buffer=buffer)
    return metadata


def new_subgraph(
    tensors: list[TensorT], inputs: list[int], outputs: list[int], operators: list[OperatorT]
) -> SubGraphT:
    """A subgraph without a name."""
    subgraph: SubGraphT = schema.SubGraphT(tensors=tensors, inputs=inputs, outputs=outputs, operators=operators)
    return subgraph


def new_model(codes: list[OperatorCodeT], subgraphs: list[SubGraphT], buffers: list[BufferT]) -> ModelT:
    """A model, whose first buffer must be empty."""
    model: ModelT = schema.ModelT(version=3, operatorCodes=codes, subgraphs=subgraphs, buffers=buffers)
    return model


# ---- looking around -------------------------------------------------------------------------------------------------


def builtin_code(model: ModelT, operator: OperatorT) -> int:
    """BuiltinOperator of an operator; old files keep it in the deprecated byte."""
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def custom_name(model: ModelT, operator: OperatorT) -> str | None:
    """Name of a custom operator, None for builtin ones."""
    return text(model.operatorCodes[operator.opcodeIndex].customCode) or None


def operator_name(model: ModelT, operator: OperatorT) -> str:
    """CONV_2D, or the custom operator's own name."""
    return custom_name(model, operator) or builtin_name(builtin_code(model, operator))


def builtin_name(code: int) -> str:
    """CONV_2D, of a BuiltinOperator."""
    return _BUILTIN_NAMES.get(code, f"BUILTIN_{code}")


def type_name(tensor_type: int) -> str:
    """FLOAT32, of a TensorType."""
    return _TYPE_NAMES.get(tensor_type, f"TYPE_{tensor_type}")


def text(value: bytes | str | None) -> str:
    """A flatbuffer string as str."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def indices(vector: IntVector | None) -> list[int]:
    """A vector of integers as a list; a missing vector is empty."""
    return [] if vector is None else [int(i) for i in vector]


def shape(tensor: TensorT) -> tuple[int, ...]:
    """A tensor's shape."""
    return tuple(indices(tensor.shape))


def readers(subgraph: SubGraphT) -> dict[int, list[InputSlot]]:
    """For each tensor, the inputs of operators that read it, in order."""
    found: dict[int, list[InputSlot]] = {}
    for position, operator in enumerate(subgraph.operators):
        for slot, tensor in enumerate(indices(operator.inputs)):
            if tensor >= 0:
                found.setdefault(tensor, []).append(InputSlot(position, slot))
    return found


def subgraphs(model: ModelT) -> Iterator[tuple[int, SubGraphT]]:
    """Subgraphs with their indices."""
    yield from enumerate(model.subgraphs)


def constant(model: ModelT, tensor: TensorT) -> NDArray[Any] | None:
    """A constant tensor's values in its own type and shape, or None if the tensor has no (supported) constant data.

    Those of INT4 and INT2 are int8.

    Raises:
        FormatError: the buffer's size does not fit the shape.
    """
    in_a_byte = _IN_A_BYTE.get(tensor.type, 1)
    dtype = np.int8 if in_a_byte > 1 else _DTYPES.get(tensor.type)
    data = model.buffers[tensor.buffer].data
    if dtype is None or data is None or not len(data):
        return None
    raw, count = np.asarray(data, np.uint8), math.prod(shape(tensor))
    expected = -(-count // in_a_byte) * np.dtype(dtype).itemsize
    if len(raw) != expected:
        raise FormatError(
            f"tensor {text(tensor.name)!r}",
            expected=f"{expected} bytes for shape {list(shape(tensor))}",
            got=str(len(raw)),
            fix="The file is damaged: copy or convert it again.",
        )
    if in_a_byte > 1:
        return _apart(raw, in_a_byte)[:count].reshape(shape(tensor))
    return np.frombuffer(raw.tobytes(), dtype).reshape(shape(tensor))


def _apart(raw: NDArray[np.uint8], in_a_byte: int) -> NDArray[np.int8]:
    """Signed codes that share bytes."""
    num_bits = 8 // in_a_byte
    to_the_top = np.arange(8 - num_bits, -1, -num_bits, dtype=np.uint8)
    return ((raw[:, None] << to_the_top).astype(np.uint8).view(np.int8) >> np.int8(8 - num_bits)).reshape(-1)


def add_buffer(model: ModelT, data: bytes | NDArray[Any]) -> int:
    """Appends an inline buffer; returns its index."""
    raw = np.frombuffer(data if isinstance(data, bytes) else data.tobytes(), np.uint8)
    model.buffers.append(new_buffer(raw))
    return len(model.buffers) - 1


def tensor_at(model: ModelT, place: TensorPlace) -> TensorT:
    """The tensor in that place."""
    return model.subgraphs[place.subgraph].tensors[place.tensor]


def builtin_opcode(model: ModelT, code: int, version: int) -> int:
    """Index of the operator code of a builtin operator, which is added if the model has none."""
    for index, known in enumerate(model.operatorCodes):
        if max(known.builtinCode, known.deprecatedBuiltinCode) == code and known.version == version:
            return index
    deprecated = min(code, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    model.operatorCodes.append(
        schema.OperatorCodeT(deprecatedBuiltinCode=deprecated, builtinCode=code, version=version)
    )
    return len(model.operatorCodes) - 1


def add_tensor(subgraph: SubGraphT, name: str, dims: Sequence[int], tensor_type: int, buffer: int) -> int:
    """Appends a tensor; returns its index."""
    subgraph.tensors.append(new_tensor(name, list(dims), tensor_type, buffer))
    return len(subgraph.tensors) - 1
