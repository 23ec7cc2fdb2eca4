"""Running a TFLite graph operator by operator, so that its weights can change on the way.

Rounding that looks at a layer's inputs needs them as the layers before it, already rounded, leave them. Each operator
becomes a model of its own under the stock runtime, so that any operator TFLite has can be walked over.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.observer import Constant, Constants
from nq_tflite.conversion.sources.sample_store import Kept, KeptArrays, SampleStore
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
        store: what keeps the tensors' values; one of the walk's own if None.

    Attributes:
        num_samples: of `samples`.
    """

    def __init__(
        self,
        model: ModelT,
        samples: Sequence[Sequence[Array | Kept]],
        runtime: Runtime,
        num_threads: int = 1,
        store: SampleStore | None = None,
    ) -> None:
        self._model, self._runtime, self._num_threads = model, runtime, num_threads
        self._store = store or SampleStore()
        self._subgraph = model.subgraphs[0]
        self.num_samples = len(samples)
        self._next = 0
        self._replaced: Constants = {}
        inputs = fb.indices(self._subgraph.inputs)
        self._values: dict[int, list[Kept]] = {
            tensor: [self._stored(tensor, sample[k]) for sample in samples] for k, tensor in enumerate(inputs)
        }
        self._last_reader = {tensor: uses[-1][0] for tensor, uses in fb.readers(self._subgraph).items()}
        self._last_reader.update(dict.fromkeys(fb.indices(self._subgraph.outputs), len(self._subgraph.operators)))

    def values(self, tensor: int, before: int, numbers: Sequence[int] | None = None) -> KeptArrays:
        """What a tensor holds for each sample when operator `before` is about to run; moves on to that operator.

        Args:
            numbers: of the samples; all if None.

        Raises:
            UnsupportedModelError: an operator on the way does not run alone.
        """
        for position in range(self._next, before):
            self._run(position)
        self._next = max(self._next, before)
        kept = self._values[tensor]
        return KeptArrays(kept if numbers is None else [kept[number] for number in numbers])

    def outputs(self) -> KeptArrays:
        """The first output of the main subgraph that has real values, for each sample: [batch, ...].

        Raises:
            UnsupportedModelError: there is none, or an operator on the way does not run alone.
        """
        tensors = self._subgraph.tensors
        real = [index for index in fb.indices(self._subgraph.outputs) if has_real_values(tensors[index])]
        if not real:
            raise UnsupportedModelError("outputs", expected="at least one with real numbers", got="only integers")
        self.values(real[0], len(self._subgraph.operators))
        return KeptArrays(self._values[real[0]], partial(real_values, tensors[real[0]]))

    def fork(self, num_samples: int) -> GraphWalk:
        """Another walk of the first samples, that stands where this one does and goes its own way from there."""
        other = copy(self)
        other._values = {tensor: values[:num_samples] for tensor, values in self._values.items()}
        other._replaced = dict(self._replaced)
        other.num_samples = min(num_samples, self.num_samples)
        return other

    def _stored(self, tensor: int, sample: Array | Kept) -> Kept:
        """An input as the tensor stores it."""
        given = sample.load() if isinstance(sample, Kept) else sample
        values = stored_values(self._subgraph.tensors[tensor], given)
        return self._store.keep(sample if values is given else values)

    def replace(self, constants: Mapping[InputSlot, Constant]) -> None:
        """Gives operators that have not run yet other constant inputs, or some in place of absent biases."""
        self._replaced.update(constants)

    def _run(self, position: int) -> None:
        operator = self._subgraph.operators[position]
        computed = self._values.keys()
        alone = _Alone(self._model, position, computed, self._replaced, self._runtime, self._num_threads)
        # Each list ends with the first sample, so that a value that nobody reads any more goes before the next comes.
        given = [self._values[tensor][::-1] for tensor in alone.inputs]
        for tensor in fb.indices(operator.inputs):
            if not self._is_read_after(position, tensor):
                self._values.pop(tensor, None)
        is_constant = all(value is values[0] for values in given for value in values)  # as DENSIFY makes them
        outputs = fb.indices(operator.outputs)
        results: dict[int, list[Kept]] = {each: [] for each in outputs if self._is_read_after(position, each)}
        for _ in range(1 if is_constant else self.num_samples):
            found = alone.run([values.pop().load() for values in given])
            for tensor, values in zip(outputs, found, strict=True):
                if tensor in results:
                    results[tensor].append(self._store.keep(values))
        for tensor, kept in results.items():
            self._values[tensor] = kept * self.num_samples if is_constant else kept

    def _is_read_after(self, position: int, tensor: int) -> bool:
        return self._last_reader.get(tensor, -1) > position


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
        self._interpreter.reset_all_variables()  # an LSTM's state starts anew with every sample
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
    if operator.intermediates is not None:
        single.intermediates = [copies.add(index) for index in fb.indices(operator.intermediates)]
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
        tensor.isVariable = old.isVariable
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
