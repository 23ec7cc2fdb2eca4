"""Photos as representative data, preprocessed as the model to convert takes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.source_input import source_input
from nq_tflite.measure.photo_folder import photo_paths
from nq_tflite.measure.preprocessing import PixelPreprocessing, PixelRange, SeenValues, preprocessing_for

#: Photos that are looked at to see whether the preprocessing fits.
_LOOKED_AT = 16


@dataclass(frozen=True)
class PhotoSamples:
    """A function that starts photos over, as `nq.convert` takes representative data.

    Attributes:
        paths: of the photos.
        pixels: how each becomes an input.
        doubt: why the preprocessing may be the wrong one; "" if nothing tells.
    """

    paths: tuple[Path, ...]
    pixels: PixelPreprocessing
    doubt: str

    def __call__(self) -> Iterator[NDArray[np.float32]]:
        """Inputs [1, height, width, channels], one photo at a time."""
        return (self.pixels.apply(path)[None] for path in self.paths)


def photo_samples(
    source: Any,
    folder: str | os.PathLike[str],
    preprocess: PixelRange | None = None,
    crop_fraction: float | None = None,
    size: int | None = None,
) -> PhotoSamples:
    """Photos for the conversion of a model, which need no labels.

    Args:
        source: as `conversion.sources.source_input.source_input`.
        folder: of photos.
        preprocess, crop_fraction, size: as `preprocessing.preprocessing_for`.

    Raises:
        PhotosError: the folder or a photo cannot be used, or the preprocessing is not known.
        UnsupportedModelError, FormatError: the source has no image input, or is no model.
    """
    paths = photo_paths(folder)
    image = source_input(source)
    pixels = preprocessing_for(image, preprocess, crop_fraction, size)
    samples = PhotoSamples(paths, pixels, "")
    seen = SeenValues(image.values)
    for inputs in islice(samples(), _LOOKED_AT):
        seen.add(inputs)
    return PhotoSamples(paths, pixels, seen.doubt)
