"""Samples in .npy files as a model takes them, with the classes that count as right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import RepresentativeDataError, reason_of

_Given = NDArray[Any] | str | os.PathLike[str]


@dataclass(frozen=True)
class SampleInputs:
    """Inputs that need no preprocessing.

    Attributes:
        arrays: real values [samples, ...].
        labels: class indices [samples, n], any of which counts as right; None without labels.
        first: number of the first sample.
    """

    arrays: NDArray[Any]
    labels: NDArray[np.integer[Any]] | None
    first: int = 0
    noun = "samples"
    preprocessing = "as they are in the file"
    values = None

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, which: slice) -> SampleInputs:
        """The samples of a slice, in order."""
        labels = None if self.labels is None else self.labels[which]
        return SampleInputs(self.arrays[which], labels, self.first + (which.start or 0))

    @property
    def accepted(self) -> list[frozenset[int]] | None:
        """For each sample the classes that count as right."""
        return None if self.labels is None else [frozenset(row.tolist()) for row in self.labels]

    def __iter__(self) -> Iterator[tuple[str, list[NDArray[Any]]]]:
        """The name of each sample, and the one input that every model takes."""
        for number, array in enumerate(self.arrays, self.first):
            yield f"sample {number}", [array]

    def check(self, model: str, shape: tuple[int, ...], num_classes: int) -> None:
        """Looks whether a model takes them.

        Raises:
            RepresentativeDataError: another shape, or a class that the model does not have.
        """
        if self.arrays.shape[1:] != shape:
            raise RepresentativeDataError(
                "samples",
                expected=f"[samples, {', '.join(map(str, shape))}] as {model} takes them",
                got=str(list(self.arrays.shape)),
                fix="Preprocess them as for inference.",
            )
        if self.labels is not None and int(self.labels.max()) >= num_classes:
            raise RepresentativeDataError(
                "labels", expected=f"class indices below {num_classes}", got=str(int(self.labels.max()))
            )


def read_samples(samples: _Given, labels: _Given | None) -> SampleInputs:
    """Samples and labels, each an array or the path of a .npy file.

    >>> read_samples(np.zeros((2, 4)), np.array([1, 0])).accepted
    [frozenset({1}), frozenset({0})]

    Raises:
        RepresentativeDataError: they cannot be read, are not finite numbers, or not one label a sample.
    """
    arrays = _array(samples, "samples")
    if not arrays.ndim or not len(arrays) or arrays.dtype.kind not in "fiub" or not np.isfinite(arrays).all():
        raise RepresentativeDataError(
            "samples", expected="finite numbers [samples, ...]", got=f"{arrays.dtype} {list(arrays.shape)}"
        )
    if labels is None:
        return SampleInputs(arrays, None)
    classes = _array(labels, "labels")
    if classes.dtype.kind not in "iu" or classes.ndim not in (1, 2) or len(classes) != len(arrays) or classes.min() < 0:
        raise RepresentativeDataError(
            "labels",
            expected=f"class indices, whole numbers from 0 on, [{len(arrays)}] or [{len(arrays)}, n]",
            got=f"{classes.dtype} {list(classes.shape)}",
        )
    return SampleInputs(arrays, classes.reshape(len(classes), -1))


def _array(given: _Given, what: str) -> NDArray[Any]:
    if isinstance(given, np.ndarray):
        return given
    path = os.fspath(given)
    got = "another kind of file"
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        loaded.close()
    except OSError as error:
        got = reason_of(error)
    except (ValueError, EOFError):
        pass
    raise RepresentativeDataError(f"{what} {path}", expected="a .npy file", got=got)
