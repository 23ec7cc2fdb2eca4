"""Running a TFLite graph operator by operator, so that its weights can change on the way.

Rounding that looks at a layer's inputs needs them as the layers before it, already rounded, leave them. Each operator
becomes a model of its own under the stock runtime, so that any operator TFLite has can be walked over.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.observer import Constant, Constants
from nq_tflite.device.runtimes import Runtime
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import Array, schema
from nq_tflite.graph.model import InputSlot, ModelT, OperatorT, TensorT
from nq_tflite.graph.quantization import real_values, scale_and_zero_point, stored_values

#: Operators whose work depends on more than their inputs.
_NOT_ALONE = {
    getattr(schema.BuiltinOperator, name)
    for name in ("CALL_ONCE", "IF", "WHILE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "STABLEHLO_COMPOSITE")
    if hasattr(schema.BuiltinOperator, name)
}
#: TensorTypes of constants.
_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
}
#: Operators that XNNPACK takes along with others but not alone.
_BUILTIN_ALONE = {schema.BuiltinOperator.DENSIFY}


class GraphWalk:
    """The main subgraph of a model on some samples, up to an operator that moves on.

    Args:
        model: it is left as it is.
        samples: an array for each input of the main subgraph, for each sample.
        runtime: the stock runtime that computes.
        num_threads: of every operator.

    Attributes:
        num_samples: of `samples`.
    """

    def __init__(
        self, model: ModelT, samples: Sequence[Sequence[Array]], runtime: Runtime, num_threads: int = 1
    ) -> None:
        self._model, self._runtime, self._num_threads = model, runtime, num_threads
        self._subgraph = model.subgraphs[0]
        self.num_samples = len(samples)
        self._next = 0
        self._replaced: Constants = {}
        inputs = fb.indices(self._subgraph.inputs)
        self._values: dict[int, list[Array]] = {
            tensor: [stored_values(self._subgraph.tensors[tensor], sample[k]) for sample in samples]
            for k, tensor in enumerate(inputs)
        }
        self._last_reader = {tensor: uses[-1][0] for tensor, uses in fb.readers(self._subgraph).items()}
        self._last_reader.update(dict.fromkeys(fb.indices(self._subgraph.outputs), len(self._subgraph.operators)))

    def values(self, tensor: int, before: int) -> list[Array]:
        """What a tensor holds for each sample when operator `before` is about to run; moves on to that operator.

        Raises:
            UnsupportedModelError: an operator on the way does not run alone.
        """
        for position in range(self._next, before):
            self._run(position)
        self._next = max(self._next, before)
        return self._values[tensor]

    def outputs(self) -> list[Array]:
        """The first output of the main subgraph that has real values, for each sample: [batch, ...].

        Raises:
            UnsupportedModelError: there is none, or an operator on the way does not run alone.
        """
        tensors = self._subgraph.tensors
        real = [index for index in fb.indices(self._subgraph.outputs) if has_real_values(tensors[index])]
        if not real:
            raise UnsupportedModelError("outputs", expected="one with real numbers", got="integers alone")
        return [real_values(tensors[real[0]], each) for each in self.values(real[0], len(self._subgraph.operators))]

    def fork(self, num_samples: int) -> GraphWalk:
        """Another walk of the first samples, that stands where this one does and goes its own way from there."""
        other = copy(self)
        other._values = {tensor: values[:num_samples] for tensor, values in self._values.items()}
        other._replaced = dict(self._replaced)
        other.num_samples = min(num_samples, self.num_samples)
        return other

    def replace(self, constants: Mapping[InputSlot, Constant]) -> None:
        """Gives operators that have not run yet other constant inputs, or some in place of absent biases."""
        self._replaced.update(constants)

    def _run(self, position: int) -> None:
        operator = self._subgraph.operators[position]
        computed = self._values.keys()
        alone = _Alone(self._model, position, computed, self._replaced, self._runtime, self._num_threads)
        given = [[self._values[t][k] for t in alone.inputs] for k in range(self.num_samples)]
        if all(value is first for each in given for value, first in zip(each, given[0], strict=True)):
            results = [alone.run(given[0])] * len(given)  # of constants, as DENSIFY makes them: one for all
        else:
            results = [alone.run(each) for each in given]
        for number, tensor in enumerate(fb.indices(operator.outputs)):
            self._values[tensor] = [result[number] for result in results]
        for tensor in {*fb.indices(operator.inputs), *fb.indices(operator.outputs)}:
            if self._last_reader.get(tensor, -1) <= position:
                self._values.pop(tensor, None)


class _Alone:
    """One operator as a model of its own. Its inputs are those that are `computed`: a constant may have no bytes."""

    def __init__(
        self,
        model: ModelT,
        position: int,
        computed: Collection[int],
        replaced: Mapping[InputSlot, Constant],
        runtime: Runtime,
        num_threads: int,
    ) -> None:
        operator = model.subgraphs[0].operators[position]
        self._name = fb.operator_name(model, operator)
        code = fb.builtin_code(model, operator)
        if code in _NOT_ALONE:
            raise _refused(self._name, "it calls subgraphs or keeps state")
        given = {slot: constant for (at, slot), constant in replaced.items() if at == position}
        kept = [tensor for slot, tensor in enumerate(fb.indices(operator.inputs)) if slot not in given]
        self.inputs = [tensor for tensor in dict.fromkeys(kept) if tensor in computed]
        packed = _single_operator_model(model, operator, self.inputs, given)
        options = _without_xnnpack(runtime) if code in _BUILTIN_ALONE else {}
        try:
            self._interpreter = runtime.interpreter(model_content=packed, num_threads=num_threads, **options)
        except (ValueError, RuntimeError) as error:
            raise _refused(self._name, _first_line(error)) from error
        self._in = [details["index"] for details in self._interpreter.get_input_details()]
        # The file's shapes may be placeholders that the operator would refuse; only those of values are true.
        self._shapes: list[tuple[int, ...]] | None = None
        self._out = [details["index"] for details in self._interpreter.get_output_details()]

    def run(self, values: Sequence[Array]) -> list[Array]:
        try:
            return self._run(values)
        except (ValueError, RuntimeError) as error:
            raise _refused(self._name, _first_line(error)) from error

    def _run(self, values: Sequence[Array]) -> list[Array]:
        shapes = [value.shape for value in values]
        if shapes != self._shapes:
            for index, value in zip(self._in, values, strict=True):
                self._interpreter.resize_tensor_input(index, value.shape)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for index, value in zip(self._in, values, strict=True):
            self._interpreter.set_tensor(index, value)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._out]


def _without_xnnpack(runtime: Runtime) -> dict[str, object]:
    """Options of a runtime's Interpreter."""
    resolvers = importlib.import_module(runtime.interpreter.__module__).OpResolverType
    return {"experimental_op_resolver_type": resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES}


# ---- the model of one operator ---------------------------------------------------------------------------------------


def _single_operator_model(
    model: ModelT, operator: OperatorT, inputs: Sequence[int], replaced: Mapping[int, Constant]
) -> bytes:
    """The flatbuffer of a model that is one operator of the main subgraph.

    Args:
        inputs: tensors that become the model's inputs, in this order.
        replaced: constants by the operator's input slots, in place of what it reads there.
    """
    copies = _Copies(model)
    slots = fb.indices(operator.inputs)
    slots += [-1] * (max(replaced, default=-1) + 1 - len(slots))
    read = [
        copies.add_constant(replaced[slot]) if slot in replaced else copies.add(index)
        for slot, index in enumerate(slots)
    ]
    outputs = [copies.add(index) for index in fb.indices(operator.outputs)]
    single = fb.new_operator(0, read, outputs)
    single.builtinOptionsType, single.builtinOptions = operator.builtinOptionsType, operator.builtinOptions
    single.builtinOptions2Type, single.builtinOptions2 = operator.builtinOptions2Type, operator.builtinOptions2
    single.customOptions = operator.customOptions
    graph = fb.new_subgraph(copies.tensors, [copies.add(index) for index in inputs], outputs, [single])
    return fb.pack_model(fb.new_model([model.operatorCodes[operator.opcodeIndex]], [graph], copies.buffers))


class _Copies:
    """Tensors of the main subgraph, copied into another model with their constants.

    Attributes:
        tensors, buffers: of the other model.
    """

    def __init__(self, model: ModelT) -> None:
        self._model, self._subgraph = model, model.subgraphs[0]
        self._known = {-1: -1}
        self.tensors: list[TensorT] = []
        self.buffers = [fb.new_buffer()]

    def add(self, index: int) -> int:
        """A tensor's index in the other model."""
        if index in self._known:
            return self._known[index]
        old = self._subgraph.tensors[index]
        tensor = fb.new_tensor(old.name, old.shape, old.type, self._buffer(self._model.buffers[old.buffer].data))
        tensor.quantization, tensor.hasRank = old.quantization, old.hasRank
        tensor.shapeSignature, tensor.sparsity = old.shapeSignature, old.sparsity
        self._known[index] = self._append(tensor)
        return self._known[index]

    def add_constant(self, constant: Constant) -> int:
        """Index of a new tensor, which has nothing of the one in whose place it is read."""
        values = constant.values
        tensor_type = _TYPES[values.dtype]
        data = np.frombuffer(values.tobytes(), np.uint8)
        tensor = fb.new_tensor("constant", list(values.shape), tensor_type, self._buffer(data))
        tensor.quantization = constant.quantization
        return self._append(tensor)

    def _append(self, tensor: TensorT) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _buffer(self, data: NDArray[np.uint8] | None) -> int:
        if data is None or not len(data):
            return 0
        self.buffers.append(fb.new_buffer(data))
        return len(self.buffers) - 1


def _refused(name: str, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"operator {name}", expected="one that runs by itself", got=why)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def has_real_values(tensor: TensorT) -> bool:
    """Whether a tensor holds floats or quantized ones; the integers of classes and places are neither."""
    return tensor.type == schema.TensorType.FLOAT32 or scale_and_zero_point(tensor) is not None
