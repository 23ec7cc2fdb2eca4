"""What a file tells of its own making: by tensorflow's metadata, cut and spoiled ones, and none."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.provenance import METADATA_NAME, is_quantized_after_training

FLOAT16, FULL_INT8, TRAINED = 1001, 1003, 2000


def metadata(*modes: int) -> bytes:
    """As conversion_metadata.fbs has it: a table without environment, whose options name the modes."""
    builder = flatbuffers.Builder(64)
    builder.StartVector(4, len(modes), 4)
    for mode in reversed(modes):
        builder.PrependInt32(mode)
    vector = builder.EndVector()
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    options = builder.EndObject()
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(1, options, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def model_with(*contents: bytes) -> ModelT:
    model = fb.new_model([], [], [fb.new_buffer()])
    model.buffers += [fb.new_buffer(np.frombuffer(each, np.uint8)) for each in contents]
    model.metadata = [fb.new_metadata(METADATA_NAME, 1 + number) for number in range(len(contents))]
    return model


@pytest.mark.parametrize(
    ("modes", "answer"),
    [
        ((FULL_INT8,), True),
        ((FLOAT16, FULL_INT8), True),
        ((TRAINED,), False),
        ((FULL_INT8, TRAINED), False),
        ((), False),
    ],
)
def test_modes(modes: tuple[int, ...], answer: bool) -> None:
    assert is_quantized_after_training(model_with(metadata(*modes))) is answer


def test_metadata_without_options_say_nothing() -> None:
    builder = flatbuffers.Builder(16)
    builder.StartObject(0)
    builder.Finish(builder.EndObject())
    assert not is_quantized_after_training(model_with(bytes(builder.Output())))
    assert not is_quantized_after_training(model_with())


def test_tensorflows_own(int8_tflite: bytes) -> None:
    assert is_quantized_after_training(fb.read_model(int8_tflite).model)


def test_cut_and_spoiled_metadata_say_nothing_wrong() -> None:
    """Whatever the bytes are, there is an answer and no error."""
    whole, rng = metadata(FULL_INT8), np.random.default_rng(1)
    for size in range(len(whole)):
        assert not is_quantized_after_training(model_with(whole[:size]))
    for _ in range(2000):
        spoiled = np.frombuffer(whole, np.uint8).copy()
        spoiled[rng.integers(len(spoiled), size=3)] = rng.integers(256, size=3)
        is_quantized_after_training(model_with(bytes(spoiled)))
