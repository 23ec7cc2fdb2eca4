"""What a conversion starts from: the user's samples in every form, or made-up ones, or a reason why there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.conversion.sources.source import MOST_HELD_OUT, MOST_SAMPLES, Source, load_source
from nq_tflite.errors import RepresentativeDataError
from nq_tflite.progress import silent


def load(source: Any, data: Any = None, *, look: bool = True) -> Source:
    options = {"input_type": "float32", "output_type": "float32", "activation_ranges": "minmax"}
    return load_source(source, data, look=look, notify=silent, **options)


@pytest.fixture(scope="module")
def two_inputs() -> bytes:
    from nq_tflite_models.nets.small import two_input_net

    from nq_tflite.conversion.sources.keras_export import export

    return export(two_input_net(seed=1), None)


@pytest.mark.parametrize("form", ["array", "batches", "generator function", "dicts"])
def test_samples_in_every_form(form: str, int8_tflite: bytes, samples: np.ndarray) -> None:
    """Each becomes an array of one for each input."""
    data: Any = {
        "array": samples[:4],
        "batches": [samples[:1], samples[1:4]],
        "generator function": lambda: ([samples[i : i + 1]] for i in range(4)),
        "dicts": [{"image": samples[i : i + 1]} for i in range(4)],
    }[form]
    found = load(int8_tflite, data).samples
    assert found is not None
    arrays = [array.load() for [array] in found.arrays]
    np.testing.assert_array_equal(np.concatenate(arrays), samples[:4])
    assert {len(array) for array in arrays} == {1}
    assert found.held_out == 0


@pytest.mark.parametrize(("count", "held_out"), [(39, 0), (40, 8), (400, MOST_HELD_OUT)])
def test_one_sample_in_five_is_held_out_of_many(count: int, held_out: int, int8_tflite: bytes) -> None:
    found = load(int8_tflite, np.zeros((count, 16, 16, 3), np.float32)).samples
    assert found is not None
    assert (len(found.arrays), found.held_out) == (min(count, MOST_SAMPLES + MOST_HELD_OUT), held_out)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((2, 9, 16, 3), np.float32), r"expected \[batch, 16, 16, 3\] for input .*got \[1, 9, 16, 3\]"),
        (np.zeros((2, 16), np.float32), r"got \[1, 16\]"),
        ([[np.zeros((1, 16, 16, 3), np.float32)] * 2], "sample 0 .*expected 1 arrays.* got 2"),
        ([{"picture": np.zeros((1, 16, 16, 3), np.float32)}], "inputs image, got those of picture"),
    ],
)
def test_samples_that_do_not_fit(data: Any, message: str, int8_tflite: bytes) -> None:
    with pytest.raises(RepresentativeDataError, match=message):
        load(int8_tflite, data)


def test_several_inputs(two_inputs: bytes) -> None:
    """By name in any order, in order without names, or made up."""
    rng = np.random.default_rng(1)
    image, features = rng.normal(size=(1, 8, 8, 3)).astype("f4"), rng.normal(size=(1, 9)).astype("f4")
    named = load(two_inputs, [{"features": features, "image": image}]).samples
    made = load(two_inputs).samples
    assert named is not None
    assert made is not None
    arrays = [array.load() for array in named.arrays[0]]
    order = [array.ndim for array in arrays]
    assert sorted(order) == [2, 4]
    assert [array.load().ndim for array in made.arrays[0]] == order
    listed = load(two_inputs, [arrays]).samples
    assert listed is not None
    for a, b in zip(arrays, listed.arrays[0], strict=True):
        np.testing.assert_array_equal(a, b.load())


def test_made_up_samples_say_what_they_are(float_tflite: bytes) -> None:
    source = load(float_tflite)
    assert source.samples is not None
    assert "procedural images" in source.samples.description
    assert 0 < source.samples.held_out < len(source.samples.arrays)
    assert source.reference.model is source.model


def test_nobody_looks(float_tflite: bytes, samples: np.ndarray) -> None:
    assert load(float_tflite, samples, look=False).samples is None


def test_token_ids_cannot_be_made_up(tmp_path: Any) -> None:
    """Weights then fall back to rounding by themselves, and a note says why."""
    import keras

    from nq_tflite.conversion.sources.keras_export import export

    tokens = keras.Input((12,), dtype="int32")
    x = keras.layers.Dense(96)(keras.layers.Embedding(50, 64)(tokens))
    content = export(keras.Model(tokens, x), None)
    source = load(content)
    assert source.samples is None
    assert "token ids" in source.without
    report = nq.convert(content, tmp_path / "nested.tflite")
    assert report.estimate is None
    assert report.notes[0] == source.without
    assert "1 of 2 weights not rounded by descent: 1 by " in report.notes[1]
    ids = np.random.default_rng(2).integers(0, 50, (20, 12)).astype(np.int32)
    report = nq.convert(content, tmp_path / "nested.tflite", "8|5", ids)
    assert not any("not rounded by" in note for note in report.notes)
    assert report.estimate is not None


def test_keras_sources_are_rounded_from_their_float_weights(mixed_model: Any, samples: np.ndarray) -> None:
    source = load(mixed_model, samples)
    assert source.reference.model is not source.model
    assert len(source.reference.weights) >= 6
    assert source.reference.moments
