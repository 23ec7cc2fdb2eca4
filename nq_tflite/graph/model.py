# ruff: noqa: N815 (the schema's names)
"""Types of a .tflite model in memory: those attributes of the schema's object API that this package uses.

The schema is generated code without types, from ai-edge-litert or tensorflow. `flatbuffer` makes and reads its objects;
everything else takes them as these protocols. A vector is a NumPy array where it was read, a list where it was made,
and None if the file has none: `flatbuffer.indices` turns all three into a list. After `flatbuffer.read_model` the
vectors that everything goes through are never None: a model's operator codes, subgraphs and buffers, a subgraph's
tensors and operators.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

IntVector = list[int] | NDArray[np.integer[Any]]
FloatVector = list[float] | NDArray[np.floating[Any]]


class TensorPlace(NamedTuple):
    """Where a tensor stands in a model, by index."""

    subgraph: int
    tensor: int


class InputSlot(NamedTuple):
    """One input of an operator, by the operator's position in its subgraph."""

    position: int
    slot: int


class BufferT(Protocol):
    """Bytes of a tensor or of metadata.

    Attributes:
        data: uint8; None if there are none, or where they lie outside the flatbuffer root.
        offset, size: where they lie in the file then.
    """

    data: NDArray[np.uint8] | None
    offset: int
    size: int


class QuantizationT(Protocol):
    """Scales of a tensor.

    Attributes:
        min, max: what calibration saw.
        scale, zeroPoint: [1], or [channels] along axis `quantizedDimension`.
        details: None, or one of the schema's tables; that of blocks has the indices of the tensors `scales` and
            `zeroPoints` (-1 for none) and a `blockSize`. `quantization.block_scales` reads it.
    """

    min: FloatVector | None
    max: FloatVector | None
    scale: FloatVector | None
    zeroPoint: IntVector | None
    quantizedDimension: int
    details: Any


class TensorT(Protocol):
    """A tensor.

    Attributes:
        type: a TensorType.
        buffer: index of its constant data; that of an empty buffer where it is computed.
        name: bytes as read, str as made; `flatbuffer.text` gives a str.
        sparsity: the schema's SparsityParametersT, which nothing looks into.
        isVariable: whether it is an operator's state, which stays from one invocation to the next.
        externalBuffer: id of the ExternalBufferT with its constant data; 0 for none.
    """

    shape: IntVector | None
    shapeSignature: IntVector | None
    hasRank: bool
    type: int
    buffer: int
    name: bytes | str | None
    quantization: QuantizationT | None
    sparsity: object | None
    isVariable: bool
    externalBuffer: int


class OperatorT(Protocol):
    """An operator.

    Attributes:
        opcodeIndex: into the model's operatorCodes.
        inputs, outputs, intermediates: indices of tensors; -1 stands for an absent one.
        builtinOptions, builtinOptions2: None, or one of the schema's 150 options tables, each with attributes of its
            own; that of the types `builtinOptionsType`, `builtinOptions2Type`.
        customOptions: bytes of a custom operator.
    """

    opcodeIndex: int
    inputs: IntVector | None
    outputs: IntVector | None
    intermediates: IntVector | None
    builtinOptionsType: int
    builtinOptions: Any
    builtinOptions2Type: int
    builtinOptions2: Any
    customOptions: IntVector | None


class OperatorCodeT(Protocol):
    """Which operator; `flatbuffer.builtin_code` knows which of the two codes counts."""

    builtinCode: int
    deprecatedBuiltinCode: int
    customCode: bytes | str | None
    version: int


class SubGraphT(Protocol):
    """A graph: its tensors, and its operators in the order in which they run."""

    tensors: list[TensorT]
    inputs: IntVector | None
    outputs: IntVector | None
    operators: list[OperatorT]
    name: bytes | str | None


class TensorMapT(Protocol):
    """A signature's name of an input or output."""

    name: bytes | str | None
    tensorIndex: int


class SignatureDefT(Protocol):
    """Names of a subgraph's inputs and outputs."""

    inputs: list[TensorMapT] | None
    outputs: list[TensorMapT] | None
    signatureKey: bytes | str | None
    subgraphIndex: int


class MetadataT(Protocol):
    """A named buffer."""

    name: bytes | str | None
    buffer: int


class ExternalBufferT(Protocol):
    """Bytes in a file beside the model: `length` of them from `offset` on, in that of a group, by its index."""

    id: int
    group: int
    offset: int
    length: int
    packing: bytes | str | None


class ExternalBufferGroupT(Protocol):
    """A file beside the model."""

    name: bytes | str | None


class ModelT(Protocol):
    """A model; its main subgraph is the first."""

    version: int
    operatorCodes: list[OperatorCodeT]
    subgraphs: list[SubGraphT]
    buffers: list[BufferT]
    metadataBuffer: IntVector | None
    metadata: list[MetadataT] | None
    signatureDefs: list[SignatureDefT] | None
    externalBuffers: list[ExternalBufferT] | None
    externalBufferGroups: list[ExternalBufferGroupT] | None
