"""Representative data in all the forms that people have it in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import RepresentativeDataError

#: One sample: an array for each input in order, or by input name.
Sample = list[NDArray[Any]] | dict[str, NDArray[Any]]
#: An array [samples, ...], an iterable of samples, or tf.lite's way: a function that returns one.
RepresentativeData = NDArray[Any] | Iterable[Any] | Callable[[], Iterable[Any]]


def sample_source(data: RepresentativeData) -> Callable[[], Iterator[Sample]]:
    """A function that starts the samples over, as tf.lite's `representative_dataset` wants it.

    Args:
        data: an array [samples, ...] for a model with one input; an iterable whose items are arrays with a leading
            batch dimension, lists of them (one for each input) or dicts by input name; or a function that returns one.

    >>> [sample[0].shape for sample in sample_source(np.zeros((2, 8, 8, 3)))()]
    [(1, 8, 8, 3), (1, 8, 8, 3)]

    Raises:
        RepresentativeDataError: there is no sample, or one is not made of finite numbers.
    """
    if callable(data):
        return _checked(data)
    items = [data[i : i + 1] for i in range(len(data))] if isinstance(data, np.ndarray) else list(data)
    return _checked(lambda: items)


def _checked(source: Callable[[], Iterable[Any]]) -> Callable[[], Iterator[Sample]]:
    def samples() -> Iterator[Sample]:
        items = iter(source())
        first = next(items, None)
        if first is None:
            raise RepresentativeDataError(
                "representative data", expected="at least one sample", got="none", fix="Pass some 100 typical inputs."
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
