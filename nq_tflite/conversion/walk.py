"""Running a TFLite graph operator by operator, so that its weights can change on the way.

Rounding that looks at a layer's inputs needs them as the layers before it, already rounded, leave them. Each operator
becomes a model of its own under the stock runtime, so that any operator TFLite has can be walked over.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.device.runtimes import Runtime
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.affine import dequantize, quantize
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import Array, schema
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.sites import Site

#: Operators whose work depends on more than their inputs.
_NOT_ALONE = {
    getattr(schema.BuiltinOperator, name)
    for name in ("CALL_ONCE", "IF", "WHILE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "STABLEHLO_COMPOSITE")
    if hasattr(schema.BuiltinOperator, name)
}
#: Operators that XNNPACK takes along with others but not alone.
_BUILTIN_ALONE = {schema.BuiltinOperator.DENSIFY}


class GraphWalk:
    """The main subgraph of a model on some samples, up to an operator that moves on.

    Args:
        model: the schema's ModelT; it is left as it is.
        samples: an array for each input of the main subgraph, for each sample.
        runtime: the stock runtime that computes.
        num_threads: of every operator.

    Attributes:
        num_samples: of `samples`.
    """

    def __init__(self, model: Any, samples: Sequence[Sequence[Array]], runtime: Runtime, num_threads: int = 1) -> None:
        self._model, self._runtime, self._num_threads = model, runtime, num_threads
        self._subgraph = model.subgraphs[0]
        self.num_samples = len(samples)
        self._next = 0
        self._replaced: dict[tuple[int, int], Array] = {}
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
        """The first output of the main subgraph for all samples, with their batches joined: [samples, ...]."""
        output = fb.indices(self._subgraph.outputs)[0]
        return [
            real_values(self._subgraph.tensors[output], v) for v in self.values(output, len(self._subgraph.operators))
        ]

    def fork(self, num_samples: int) -> GraphWalk:
        """Another walk of the first samples, that stands where this one does and goes its own way from there."""
        other = copy(self)
        other._values = {tensor: values[:num_samples] for tensor, values in self._values.items()}
        other._replaced = dict(self._replaced)
        other.num_samples = min(num_samples, self.num_samples)
        return other

    def replace(self, position: int, slot: int, values: Array) -> None:
        """Gives an operator that has not run yet another constant input, or one in place of an absent bias."""
        self._replaced[position, slot] = values

    def replace_weight(self, site: Site, weight: Array, bias: Array | None) -> None:
        """Gives the operators that read a weight another one, and another bias unless that is None."""
        for position in site.operators:
            reader = slots_of(self._model, self._subgraph.operators[position])
            self.replace(position, reader.weight, weight)
            if bias is not None and reader.bias is not None:
                self.replace(position, reader.bias, bias)

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
        model: Any,
        position: int,
        computed: Collection[int],
        replaced: Mapping[tuple[int, int], Array],
        runtime: Runtime,
        num_threads: int,
    ) -> None:
        subgraph = model.subgraphs[0]
        operator = subgraph.operators[position]
        name = fb.operator_name(model, operator)
        if fb.builtin_code(model, operator) in _NOT_ALONE:
            raise _refused(name, "it calls subgraphs or keeps state")
        self._name = name
        given = [t for slot, t in enumerate(fb.indices(operator.inputs)) if (position, slot) not in replaced]
        self.inputs = [tensor for tensor in dict.fromkeys(given) if tensor in computed]
        packed = self._single(model, subgraph, operator, position, replaced)
        options = _without_xnnpack(runtime) if fb.builtin_code(model, operator) in _BUILTIN_ALONE else {}
        try:
            self._interpreter = runtime.interpreter(model_content=packed, num_threads=num_threads, **options)
        except (ValueError, RuntimeError) as error:
            raise _refused(name, _first_line(error)) from error
        self._in = [details["index"] for details in self._interpreter.get_input_details()]
        # The file's shapes may be placeholders that the operator would refuse; only those of values are true.
        self._shapes: list[tuple[int, ...]] | None = None
        self._out = [details["index"] for details in self._interpreter.get_output_details()]

    def _single(
        self, model: Any, subgraph: Any, operator: Any, position: int, replaced: Mapping[tuple[int, int], Array]
    ) -> bytes:
        """The flatbuffer."""
        buffers, tensors, placed = [schema.BufferT()], [], {-1: -1}
        code = model.operatorCodes[operator.opcodeIndex]

        def place(index: int, values: Array | None = None) -> int:
            if values is None and index in placed:
                return placed[index]
            old = subgraph.tensors[index]
            tensor = schema.TensorT(shape=old.shape, type=old.type, name=old.name, quantization=old.quantization)
            tensor.hasRank, tensor.shapeSignature, tensor.sparsity = old.hasRank, old.shapeSignature, old.sparsity
            data = model.buffers[old.buffer].data if values is None else np.frombuffer(values.tobytes(), np.uint8)
            tensor.buffer = 0
            if data is not None and len(data):
                buffers.append(schema.BufferT(data=data))
                tensor.buffer = len(buffers) - 1
            tensors.append(tensor)
            placed[index] = len(tensors) - 1
            return placed[index]

        slots = [slot for at, slot in replaced if at == position]
        given = fb.indices(operator.inputs)
        given += [-1] * (max(slots, default=-1) + 1 - len(given))
        inputs = []
        for slot, index in enumerate(given):
            values = replaced.get((position, slot))
            if index < 0 and values is not None:
                buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
                tensors.append(_bias_tensor(subgraph, given, values, len(buffers) - 1))
                inputs.append(len(tensors) - 1)
            else:
                inputs.append(place(index, values))
        outputs = [place(index) for index in fb.indices(operator.outputs)]
        single = schema.OperatorT(
            opcodeIndex=0,
            inputs=inputs,
            outputs=outputs,
            builtinOptionsType=operator.builtinOptionsType,
            builtinOptions=operator.builtinOptions,
            customOptions=operator.customOptions,
            intermediates=None,
        )
        single.builtinOptions2Type, single.builtinOptions2 = operator.builtinOptions2Type, operator.builtinOptions2
        graph = schema.SubGraphT(
            tensors=tensors, inputs=[placed[t] for t in self.inputs], outputs=outputs, operators=[single]
        )
        return fb.pack_model(schema.ModelT(version=3, operatorCodes=[code], subgraphs=[graph], buffers=buffers))

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


def _without_xnnpack(runtime: Runtime) -> dict[str, Any]:
    """Options of a runtime's Interpreter."""
    resolvers = importlib.import_module(runtime.interpreter.__module__).OpResolverType
    return {"experimental_op_resolver_type": resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES}


def _bias_tensor(subgraph: Any, inputs: Sequence[int], values: Array, buffer: int) -> Any:
    """A bias where the operator has none."""
    is_float = values.dtype == np.float32
    tensor_type = schema.TensorType.FLOAT32 if is_float else schema.TensorType.INT32
    tensor = schema.TensorT(shape=[len(values)], type=tensor_type, name="bias", buffer=buffer)
    tensor.hasRank = True
    if not is_float:
        data, weight = (subgraph.tensors[index].quantization for index in inputs[:2])
        scale = np.asarray(weight.scale, np.float32) * np.float32(data.scale[0])
        tensor.quantization = schema.QuantizationParametersT(
            scale=scale.tolist(), zeroPoint=[0] * len(scale), quantizedDimension=0
        )
    return tensor


def _refused(name: str, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"operator {name}", expected="one that runs by itself", got=why)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def real_values(tensor: Any, values: Array) -> NDArray[np.float32]:
    """Real values of what a tensor holds, by its scale and zero point where it is quantized."""
    if values.dtype.kind == "f" or not _is_quantized(tensor):
        return values.astype(np.float32, copy=False)
    return dequantize(values, *_parameters(tensor), np.float32)


def stored_values(tensor: Any, values: Array) -> Array:
    """Values as a tensor stores them: real ones quantized by its scale where it is quantized."""
    if tensor.type == schema.TensorType.FLOAT32:
        return values.astype(np.float32, copy=False)
    dtype = {schema.TensorType.INT8: np.int8, schema.TensorType.UINT8: np.uint8}.get(tensor.type)
    if dtype is None or values.dtype.kind != "f" or not _is_quantized(tensor):
        return values
    return quantize(values, *_parameters(tensor), dtype)


def _parameters(tensor: Any) -> tuple[float, int]:
    return float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])


def _is_quantized(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None
