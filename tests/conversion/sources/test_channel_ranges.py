"""Ranges of a float model's tensors on samples: those that its tensors really have."""

from __future__ import annotations

from typing import Any

import numpy as np

from nq_tflite.conversion.sources.channel_ranges import measure_ranges, needs_calibrator
from nq_tflite.graph import flatbuffer as fb


def interpreter_of(content: bytes, **options: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, **options)
    interpreter.allocate_tensors()
    return interpreter


def test_ranges_are_those_of_every_tensor(float_tflite: bytes, samples: np.ndarray) -> None:
    """By plain kernels that keep all tensors, operator by operator; ADD does not take the place of its input."""
    from ai_edge_litert.interpreter import OpResolverType

    few = samples[:3]
    found = measure_ranges(float_tflite, interpreter_of, ([each[None]] for each in few))
    model = fb.read_model(found.content).model
    assert any(fb.operator_name(model, operator) == "ADD" for operator in model.subgraphs[0].operators)
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    keeping = {"experimental_op_resolver_type": plain, "experimental_preserve_all_tensors": True}
    interpreter = interpreter_of(float_tflite, **keeping)
    seen: dict[int, list[np.ndarray]] = {}
    ranged = {index for index, tensor in enumerate(model.subgraphs[0].tensors) if tensor.quantization is not None}
    ranged = {index for index in ranged if len(fb.indices(model.subgraphs[0].tensors[index].quantization.min))}
    for each in few:
        interpreter.set_tensor(fb.indices(model.subgraphs[0].inputs)[0], each[None])
        interpreter.invoke()
        for index in ranged:
            seen.setdefault(index, []).append(interpreter.get_tensor(index))
    made = {index for operator in model.subgraphs[0].operators for index in fb.indices(operator.outputs)}
    assert ranged == made | set(fb.indices(model.subgraphs[0].inputs))
    for index, values in seen.items():
        quantization = model.subgraphs[0].tensors[index].quantization
        expected = np.min(values), np.max(values)
        np.testing.assert_allclose((quantization.min[0], quantization.max[0]), expected, rtol=1e-4, atol=1e-5)
    for tensor, channels in found.channels.items():
        assert channels.low.min() == np.float32(model.subgraphs[0].tensors[tensor].quantization.min[0])
        assert channels.high.max() == np.float32(model.subgraphs[0].tensors[tensor].quantization.max[0])


def test_states_are_left_to_tensorflow(float_tflite: bytes) -> None:
    model = fb.read_model(float_tflite).model
    assert not needs_calibrator(model)
    model.subgraphs[0].tensors[0].isVariable = True
    assert needs_calibrator(model)
