"""Representative data: every form that people have it in, and what is said of what is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import invoke

import nq_tflite as nq
from nq_tflite.conversion.sources.calibration import ModelInput, fitted, sample_source
from nq_tflite.conversion.sources.sample_store import SampleStore
from nq_tflite.errors import RepresentativeDataError

ROWS = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)


class Foreign:
    """An array of a library that NumPy does not know: its values by `__array__` alone."""

    def __init__(self, values: Any, error: Exception | None = None) -> None:
        self.values, self.error = values, error

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.error is not None:
            raise self.error
        return np.asarray(self.values, dtype)


@pytest.mark.parametrize("wrap", [np.asarray, Foreign], ids=["numpy", "foreign"])
def test_whole_arrays_are_split_into_samples(wrap: Callable[[Any], Any]) -> None:
    samples = list(sample_source(wrap(ROWS))())
    assert [sample[0].shape for sample in samples] == [(1, 8)] * 5
    np.testing.assert_array_equal(np.concatenate([sample[0] for sample in samples]), ROWS)
    named = list(sample_source({"first": wrap(ROWS), "second": wrap(ROWS[:, :3])})())
    assert [{name: array.shape for name, array in sample.items()} for sample in named] == [
        {"first": (1, 8), "second": (1, 3)}
    ] * 5


def test_tensors_of_tensorflow() -> None:
    import tensorflow as tf

    samples = list(sample_source(tf.constant(ROWS))())
    np.testing.assert_array_equal(np.concatenate([sample[0] for sample in samples]), ROWS)
    assert len(list(sample_source(tf.data.Dataset.from_tensor_slices(ROWS).batch(1))())) == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "expected an array .* got a int"),
        ("photos.npy", r"got a str\. Load it first"),
        (Path("photos.npy"), "Load it first"),
        (np.float32(3), "as a single value of type float32"),
        ({"a": 3.0}, "'a' as a single value of type float"),
        ({"a": ROWS, "b": ROWS[:2]}, "arrays of one length, got {'a': 5, 'b': 2}"),
        ({"a": ROWS[:0]}, "at least one sample"),
        (Foreign(ROWS, RuntimeError("requires grad")), "got requires grad"),
    ],
)
def test_what_is_no_data(data: Any, message: str) -> None:
    with pytest.raises(RepresentativeDataError, match=message):
        sample_source(data)


IMAGE, IDS = ModelInput("im", np.dtype("f4"), (None, 2, None)), ModelInput("ids", np.dtype("i4"), (None, 3))


def test_samples_fit_by_name_and_type() -> None:
    """Types change where no value does."""
    image, ids = np.ones((1, 2, 7), np.float16), np.array([[1, 2, 3]])
    for sample in ([image, ids], {"ids": ids, "im": image, "label": ids}):
        first, second = fitted(sample, [IMAGE, IDS], 0)
        assert (first.dtype, second.dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(second, ids)
    real = ModelInput("quantized", None, (None, 3))
    assert fitted([ids], [real], 0)[0] is ids


@pytest.mark.parametrize(
    ("sample", "inputs", "message"),
    [
        (
            {"image": ROWS},
            [ModelInput("images", None, None)],
            "inputs images, got those of image. Did you mean 'images'",
        ),
        ({"arr_0": ROWS}, [IMAGE], r"inputs im, got those of arr_0\. Name the arrays as the model does: im"),
        ([ROWS, ROWS], [IMAGE], r"sample 4 .*expected 1 arrays.* got 2\. Leave labels"),
        (
            [ROWS],
            [IMAGE],
            r"expected \[batch, 2, any\] for input 'im', got \[5, 8\]\. .* inference\.$",
        ),
        ([ROWS, ROWS], [IMAGE, IDS], "for a model with several inputs, give dicts by input name"),
        (
            [np.full((1, 2, 3), 200, np.uint8)],
            [IMAGE],
            r"float32 .* got uint8 from 200 to 200.*astype\('float32'\)",
        ),
        ([np.array([[1, 2, 1 << 40]])], [IDS], r"expected int32 for input 'ids', got int64 from 1 to"),
        ([np.ones((1, 3), np.float32)], [IDS], "expected int32 .* got float32 from 1.0 to 1.0"),
    ],
)
def test_samples_that_do_not_fit(sample: Any, inputs: list[ModelInput], message: str) -> None:
    with pytest.raises(RepresentativeDataError, match=f"(?i){message}"):
        fitted(sample, inputs, 4)


@pytest.mark.slow
def test_keras_models_say_what_they_take(mixed_model: Any, samples: np.ndarray, tmp_path: Path) -> None:
    """Before tensorflow calibrates: its own words name neither the input nor what to do."""
    pixels = (samples * 40 + 128).clip(0, 255).astype(np.uint8)
    for data, message in (
        ({"picture": samples}, "inputs image, got those of picture"),
        (pixels, "expected float32 for input 'image', got uint8"),
        (samples.transpose(0, 3, 1, 2), r"expected \[batch, 16, 16, 3\] for input 'image', got \[1, 3, 16, 16\]"),
    ):
        with pytest.raises(RepresentativeDataError, match=message):
            nq.convert(mixed_model, tmp_path / "model.tflite", representative_data=data)
    assert not (tmp_path / "model.tflite").exists()


def test_keras_quantized_models_are_named(tmp_path: Path) -> None:
    import keras

    row = keras.Input((8,))
    model = keras.Model(row, keras.layers.Dense(64)(row))
    model.quantize("int8")
    with pytest.raises(nq.NqError, match=r"got layers of model\.quantize\('int8'\).* Convert the unquantized model"):
        nq.convert(model, tmp_path / "model.tflite")


def test_arrays_of_objects_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([[1], None], dtype=object), allow_pickle=True)
    (tmp_path / "model.tflite").touch()
    done = invoke(
        "convert", tmp_path / "model.tflite", tmp_path / "o.tflite", "--representative", tmp_path / "objects.npy"
    )
    assert "an array of Python objects, not of numbers" in " ".join(done.stderr.split())


@pytest.mark.parametrize("memory", [0, None])
def test_an_iterator_is_read_once_and_gives_its_samples_again(memory: int | None) -> None:
    read: list[int] = []

    def items() -> Iterator[Any]:
        for number in range(4):
            read.append(number)
            yield {"x": np.full((1, 2), number, np.float32)} if number % 2 else [np.full((1, 3), number, np.int32)]

    start = sample_source(items(), SampleStore(memory))
    assert read == [0]  # that there is one
    first, second = start(), start()
    numbers = [np.unique(list(each.values()) if isinstance(each, dict) else each) for each in (next(first), *second)]
    assert [int(number) for [number] in numbers] == [0, 0, 1, 2, 3]
    assert [type(each) for each in (*first, *start())] == [dict, list, dict, list, dict, list, dict]
    assert read == [0, 1, 2, 3]
