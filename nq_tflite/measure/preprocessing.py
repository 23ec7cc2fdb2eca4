"""From a photo to a model's input: resize, middle crop, and the pixel ranges that models expect."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nq_tflite.errors import PhotosError, did_you_mean, reason_of
from nq_tflite.graph.image_input import ImageInput

Rgb = tuple[float, float, float]

_TORCHVISION: tuple[Rgb, Rgb] = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_SIGNED: tuple[Rgb, Rgb] = ((127.5,) * 3, (127.5,) * 3)
_PIXELS: tuple[Rgb, Rgb] = ((0.0,) * 3, (1.0,) * 3)
_CAFFE: tuple[Rgb, Rgb] = ((103.939, 116.779, 123.68), (1.0,) * 3)
#: Names of the pixel ranges that models expect.
PixelRange = Literal[
    "-1..1",
    "0..1",
    "0..255",
    "imagenet",
    "mobilenet_v2",
    "efficientnet_lite0",
    "keras_mobilenet",
    "keras_mobilenet_v2",
    "keras_mobilenet_v3",
    "keras_efficientnet",
    "keras_resnet50",
    "keras_resnet_v2",
    "keras_vgg16",
    "keras_densenet",
    "keras_inception_v3",
    "keras_xception",
]
#: (mean, standard deviation) of 8-bit pixels, by the name that --preprocess takes: input = (pixel - mean) / std. The
#: names keras_* are those of keras.applications' modules, whose preprocess_input gives the same.
PIXEL_RANGES: dict[PixelRange, tuple[Rgb, Rgb]] = {
    "-1..1": _SIGNED,
    "0..1": ((0.0,) * 3, (255.0,) * 3),
    "0..255": _PIXELS,
    "imagenet": _TORCHVISION,
    "mobilenet_v2": _TORCHVISION,
    "efficientnet_lite0": ((127.0,) * 3, (128.0,) * 3),
    "keras_mobilenet": _SIGNED,
    "keras_mobilenet_v2": _SIGNED,
    "keras_mobilenet_v3": _PIXELS,
    "keras_efficientnet": _PIXELS,
    "keras_resnet50": _CAFFE,
    "keras_resnet_v2": _SIGNED,
    "keras_vgg16": _CAFFE,
    "keras_densenet": _TORCHVISION,
    "keras_inception_v3": _SIGNED,
    "keras_xception": _SIGNED,
}
#: Ranges of pixels whose order is blue, green, red.
_BGR: frozenset[PixelRange] = frozenset({"keras_resnet50", "keras_vgg16"})
#: Ranges that say nothing of ImageNet, whose models look at the middle 7/8 of a photo.
_PLAIN: tuple[PixelRange, ...] = ("-1..1", "0..1", "0..255")
_IMAGENET_CROP = 0.875
#: Ranges that a model's own values can tell apart, and how near both ends have to be, as a fraction of the range.
_TELLING: tuple[PixelRange, ...] = (*_PLAIN, "imagenet", "efficientnet_lite0")
_NEAR = 0.02
#: Photos fit a model if at most this fraction of their values lies outside of what it takes, and if they reach over at
#: least that fraction of it.
_MOST_OUTSIDE, _LEAST_REACH = 0.01, 0.6


@dataclass(frozen=True)
class PixelPreprocessing:
    """How a photo becomes a model's input: (pixel - mean) / std of 8-bit pixels.

    The photo is resized (bilinear with antialiasing, the aspect ratio kept) until the input is `crop_fraction` of it,
    then its middle is cut out.

    Attributes:
        height, width, channels: of the input; 3 channels are RGB, 1 is grey.
        mean, std: of each channel; grey takes the first.
        crop_fraction: above 0, at most 1.
        is_bgr: whether blue comes first, as in models that were trained with Caffe.
        name: of the pixel range, "" for one without a name.
        told_by: which part of the model records the range; "" if the caller gave it.
    """

    height: int
    width: int
    channels: int
    mean: Rgb
    std: Rgb
    crop_fraction: float = 0.875
    is_bgr: bool = False
    name: str = ""
    told_by: str = ""

    def apply(self, photo: Image.Image | Path | str) -> NDArray[np.float32]:
        """Prepares a Pillow image of any mode, or the image file of that path: float32 [height, width, channels].

        Raises:
            PhotosError: the path cannot be read as an image.
        """
        image = photo if isinstance(photo, Image.Image) else open_photo(Path(photo))
        pixels = np.asarray(self._middle(image.convert("L" if self.channels == 1 else "RGB")), np.float32)
        pixels = pixels[..., ::-1] if self.is_bgr and self.channels == 3 else pixels
        mean, std = (np.asarray(values[: self.channels], np.float32) for values in (self.mean, self.std))
        return (pixels.reshape(self.height, self.width, self.channels) - mean) / std

    def __str__(self) -> str:
        part = "whole photos" if self.crop_fraction == 1 else f"the middle {100 * self.crop_fraction:g} % of photos"
        colours = "grey" if self.channels == 1 else "BGR" if self.is_bgr else "RGB"
        told = f" (told by {self.told_by})" if self.told_by else ""
        return f"{self.name}{told}, {part}, {self.height} x {self.width} {colours}"

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)

    def _middle(self, image: Image.Image) -> Image.Image:
        wanted = (self.width, self.height)
        scale = max(round(side / self.crop_fraction) / own for side, own in zip(wanted, image.size, strict=True))
        width, height = (max(side, round(own * scale)) for side, own in zip(wanted, image.size, strict=True))
        left, top = (width - self.width) // 2, (height - self.height) // 2
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return resized.crop((left, top, left + self.width, top + self.height))


def pixel_preprocessing(
    name: PixelRange, height: int, width: int, channels: int = 3, crop_fraction: float | None = None, told_by: str = ""
) -> PixelPreprocessing:
    """The preprocessing of that name for an input's shape.

    Args:
        name: one of `PIXEL_RANGES`.
        height, width, channels: of the model's input.
        crop_fraction: part of the photo, along its tighter side, that is used. If not given, 0.875 for the names of
            ImageNet's models, and all of it for the ranges -1..1, 0..1 and 0..255.
        told_by: which part of the model records the name.

    >>> pixel_preprocessing("-1..1", 96, 96).std
    (127.5, 127.5, 127.5)

    Raises:
        PhotosError: there is no such preprocessing.
    """
    if name not in PIXEL_RANGES:
        raise PhotosError(
            "preprocessing",
            expected=f"one of {', '.join(PIXEL_RANGES)}",
            got=repr(name),
            fix=did_you_mean(name, PIXEL_RANGES),
        )
    crop = (1.0 if name in _PLAIN else _IMAGENET_CROP) if crop_fraction is None else crop_fraction
    if not 0.0 < crop <= 1.0:
        raise PhotosError("crop fraction", expected="above 0 and at most 1", got=str(crop))
    return PixelPreprocessing(height, width, channels, *PIXEL_RANGES[name], crop, name in _BGR, name, told_by)


def preprocessing_for(
    image: ImageInput, wanted: PixelRange | None, crop_fraction: float | None = None, size: int | None = None
) -> PixelPreprocessing:
    """How photos become a model's input.

    Args:
        image: the model's input.
        wanted: a pixel range by name; None for the one that the model records.
        crop_fraction: as `pixel_preprocessing`.
        size: height and width, if the model takes any.

    Raises:
        PhotosError: the range or the size is unknown, or `size` is not the model's.
    """
    height, width = image.height or size, image.width or size
    if height is None or width is None:
        raise PhotosError(
            "photos", expected="their size, because the model takes any", got="none",
            fix="Give it in pixels: --size N.",
        )  # fmt: skip
    if size is not None and (height, width) != (size, size):
        raise PhotosError(
            "size of photos", expected=f"the model's {height} x {width}", got=str(size), fix="Leave --size out."
        )
    name = wanted or _told(image)
    return pixel_preprocessing(name, height, width, image.channels, crop_fraction, "" if wanted else image.told_by)


def _told(image: ImageInput) -> PixelRange:
    """The range that a model's values are nearest to.

    Raises:
        PhotosError: near to none.
    """
    if image.values is None:
        raise untold_range()
    low, high = image.values
    distance = {name: max(abs(low - ends[0]), abs(high - ends[1])) for name, ends in _telling().items()}
    nearest = min(distance, key=lambda name: distance[name])
    if distance[nearest] > _NEAR * (high - low):
        raise untold_range(f"a model that takes {low:.3g} to {high:.3g} by {image.told_by}")
    return nearest


def untold_range(got: str = "a model that does not record it") -> PhotosError:
    """The error for photos whose pixel range is unknown."""
    return PhotosError(
        "preprocessing",
        expected="the pixel range that the model was trained with",
        got=got,
        fix=f"Give it with --preprocess (preprocess= in Python), one of {', '.join(PIXEL_RANGES)}.",
    )


def _telling() -> dict[PixelRange, tuple[float, float]]:
    """The ends of ranges."""
    ranges = {name: np.array(PIXEL_RANGES[name]) for name in _TELLING}
    return {name: (float(np.min(-m / s)), float(np.max((255 - m) / s))) for name, (m, s) in ranges.items()}


class SeenValues:
    """Whether photos fit what a model takes: its least and greatest value, or None if nothing tells them."""

    def __init__(self, values: tuple[float, float] | None) -> None:
        self._values, self._ends, self._outside, self._count = values, (np.inf, -np.inf), 0, 0

    def add(self, inputs: NDArray[np.float32]) -> None:
        """One more preprocessed photo."""
        if self._values is None:
            return
        low, high = self._values
        margin = _NEAR * (high - low)
        self._ends = (min(self._ends[0], float(inputs.min())), max(self._ends[1], float(inputs.max())))
        self._outside += int(np.count_nonzero((inputs < low - margin) | (inputs > high + margin)))
        self._count += inputs.size

    def add_all(self, other: SeenValues) -> None:
        """Those that another one has seen."""
        self._ends = (min(self._ends[0], other._ends[0]), max(self._ends[1], other._ends[1]))
        self._outside += other._outside
        self._count += other._count

    @property
    def doubt(self) -> str:
        """Why the preprocessing may be the wrong one; "" if the photos fit."""
        if self._values is None or not self._count:
            return ""
        (low, high), (least, most) = self._values, self._ends
        outside, reach = self._outside / self._count, (min(most, high) - max(least, low)) / (high - low)
        found = f"the photos give values from {least:.3g} to {most:.3g}, the model takes {low:.3g} to {high:.3g}"
        if outside > _MOST_OUTSIDE:
            return f"{found}: {100 * outside:.0f} % are outside. Is it another --preprocess?"
        if reach < _LEAST_REACH:
            return f"{found}: they reach over {100 * max(reach, 0):.0f} % of that. Is it another --preprocess?"
        return ""


def open_photo(path: Path) -> Image.Image:
    """Reads an image file whole, as RGB.

    Raises:
        PhotosError: missing, or not an image that Pillow reads.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise PhotosError(f"photo {path}", expected="a readable image file", got=reason_of(error)) from error
