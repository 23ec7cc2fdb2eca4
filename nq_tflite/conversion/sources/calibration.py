"""Representative data in all the forms that users give it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.sample_store import Kept, SampleStore
from nq_tflite.errors import RepresentativeDataError, did_you_mean

#: One sample: an array for each input in order, or by input name.
Sample = list[NDArray[Any]] | dict[str, NDArray[Any]]
#: An array [samples, ...] or such arrays by input name, an iterable of samples, or tf.lite's way: a function that
#: returns one.
RepresentativeData = NDArray[Any] | Mapping[str, Any] | Iterable[Any] | Callable[[], Iterable[Any]]
_FORMS = "an array [samples, ...], arrays by input name, or an iterable of samples"


def sample_source(data: RepresentativeData, store: SampleStore | None = None) -> Callable[[], Iterator[Sample]]:
    """A function that starts the samples over, as tf.lite's `representative_dataset` wants it.

    Args:
        data: an array [samples, ...] for a model with one input, of NumPy or of any library whose arrays NumPy takes
            (tensorflow, torch, pandas); a dict of such arrays by input name, as Keras' `fit` takes it; an iterable
            whose items are arrays with a leading batch dimension, lists of them (one for each input) or dicts by input
            name; or a function that returns one. An iterable is read once, as far as somebody asks for its samples.
        store: what keeps the samples of an iterable; a new one if None.

    >>> [sample[0].shape for sample in sample_source(np.zeros((2, 8, 8, 3)))()]
    [(1, 8, 8, 3), (1, 8, 8, 3)]

    Raises:
        RepresentativeDataError: there is no sample, or one is not made of finite numbers.
    """
    if isinstance(data, Mapping):
        columns = {str(name): _whole_array(values, f"{name!r}") for name, values in data.items()}
        lengths = {name: len(array) for name, array in columns.items()}
        if len(set(lengths.values())) > 1:
            raise _not_samples("arrays of one length", str(lengths))
        rows = range(next(iter(lengths.values()), 0))
        items: list[Any] = [{name: array[i : i + 1] for name, array in columns.items()} for i in rows]
        return _checked(lambda: items)
    if hasattr(data, "__array__"):
        array = _whole_array(data, "it")
        items = [array[i : i + 1] for i in range(len(array))]
        return _checked(lambda: items)
    if callable(data):
        return _checked(data)
    if isinstance(data, str | bytes | os.PathLike) or (
        not isinstance(data, Iterable) and not hasattr(data, "__getitem__")
    ):
        raise _not_samples(_FORMS, f"a {type(data).__name__}", "Load it first: np.load(path), say.")
    if isinstance(data, list | tuple):
        return _checked(lambda: data)
    return _checked(_Once(data, store or SampleStore()).samples)


class _Once:
    """The samples of an iterable that may not give them a second time."""

    def __init__(self, data: Iterable[Any], store: SampleStore) -> None:
        self._items, self._store = iter(data), store
        self._read: list[list[Kept] | dict[str, Kept]] = []

    def samples(self) -> Iterator[Sample]:
        """All of them, from the first one on."""
        for number in count():
            if number == len(self._read) and not self._read_one():
                return
            kept = self._read[number]
            if isinstance(kept, dict):
                yield {name: each.load() for name, each in kept.items()}
            else:
                yield [each.load() for each in kept]

    def _read_one(self) -> bool:
        for item in self._items:
            sample, keep = _as_sample(item, len(self._read)), self._store.keep
            if isinstance(sample, dict):
                self._read.append({name: keep(each) for name, each in sample.items()})
            else:
                self._read.append([keep(each) for each in sample])
            return True
        return False


def _whole_array(values: Any, what: str) -> NDArray[Any]:
    """All samples of an input, [samples, ...]."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # a torch tensor with gradients, rows of several lengths
        raise _not_samples(_FORMS, str(error)) from error
    if not array.ndim:
        raise _not_samples(_FORMS, f"{what} as a single value of type {type(values).__name__}")
    return array


def _not_samples(expected: str, got: str, fix: str = "") -> RepresentativeDataError:
    return RepresentativeDataError("representative data", expected=expected, got=got, fix=fix)


def _checked(source: Callable[[], Iterable[Any]]) -> Callable[[], Iterator[Sample]]:
    def samples() -> Iterator[Sample]:
        items = iter(source())
        first = next(items, None)
        if first is None:
            raise RepresentativeDataError(
                "representative data", expected="at least one sample", got="none", fix="Pass about 100 typical inputs."
            )
        for number, item in enumerate(chain([first], items)):
            yield _as_sample(item, number)

    next(samples())  # an empty source is an error here, not deep inside a converter
    return samples


def _as_sample(item: Any, number: int) -> Sample:
    if isinstance(item, Mapping):
        return {str(name): _as_array(value, number) for name, value in item.items()}
    values = item if isinstance(item, list | tuple) else [item]
    return [_as_array(value, number) for value in values]


def _as_array(value: Any, number: int) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and not np.isfinite(array).all()):
        raise RepresentativeDataError(
            f"sample {number} of the representative data",
            expected="finite numbers",
            got=f"{array.dtype} with NaN or infinity" if array.dtype.kind == "f" else f"dtype {array.dtype}",
            fix="Preprocess it as for inference.",
        )
    return array


@dataclass(frozen=True)
class ModelInput:
    """What a model takes.

    Attributes:
        name: of the input.
        dtype: None if real values are taken too, and quantized.
        shape: with the batch first; None for free sizes, and for a free number of them.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | None, ...] | None


def fitted(sample: Sample, inputs: Sequence[ModelInput], number: int) -> list[NDArray[Any]]:
    """A sample's arrays in the order of a model's inputs and in their types, where no value changes by that.

    Raises:
        RepresentativeDataError: names, number, shapes or types do not fit; `number` is the sample's.
    """
    names = [each.name for each in inputs]
    values = [sample[name] for name in names if name in sample] if isinstance(sample, dict) else sample
    if len(values) != len(inputs):
        given = f"those of {', '.join(sample) or 'none'}" if isinstance(sample, dict) else str(len(values))
        raise RepresentativeDataError(
            f"sample {number} of the representative data",
            expected=f"{len(inputs)} arrays, one for each of the inputs {', '.join(names)}",
            got=given,
            fix=_naming_fix(sample, names),
        )
    return [_fitted_array(value, each, number, len(inputs)) for value, each in zip(values, inputs, strict=True)]


def _naming_fix(sample: Sample, names: Sequence[str]) -> str:
    if not isinstance(sample, dict):
        return "Leave labels and other things out that are no inputs."
    unknown = [name for name in sample if name not in names]
    missing = [name for name in names if name not in sample]
    guesses = [did_you_mean(name, missing) for name in unknown]
    return next(filter(None, guesses), f"Name the arrays as the model does: {', '.join(names)}.")


def _fitted_array(value: NDArray[Any], wanted: ModelInput, number: int, num_inputs: int) -> NDArray[Any]:
    sizes = wanted.shape
    if sizes is not None and (
        value.ndim != len(sizes)
        or any(size not in (None, have) for size, have in zip(sizes[1:], value.shape[1:], strict=True))
    ):
        several = " For a model with several inputs, give dicts by input name." if num_inputs > 1 else ""
        free = ["any" if size is None else str(size) for size in sizes[1:]]
        raise RepresentativeDataError(
            f"sample {number} of the representative data",
            expected=f"[{', '.join(['batch', *free])}] for input {wanted.name!r}",
            got=str(list(value.shape)),
            fix=f"Preprocess it as for inference.{several}",
        )
    if wanted.dtype is None or value.dtype == wanted.dtype:
        return value
    if value.dtype.kind == wanted.dtype.kind == "f":
        return value.astype(wanted.dtype)
    if value.dtype.kind in "iu" and wanted.dtype.kind in "iu":
        cast = value.astype(wanted.dtype)
        if np.array_equal(cast, value):
            return cast
    raise RepresentativeDataError(
        f"sample {number} of the representative data",
        expected=f"{wanted.dtype} for input {wanted.name!r}",
        got=f"{value.dtype} from {value.min()} to {value.max()}",
        fix=f"Preprocess it as for inference. If the values are right, change their type: .astype('{wanted.dtype}').",
    )
