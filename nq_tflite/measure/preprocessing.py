"""From a photo to a model's input: resize, middle crop, and the pixel ranges that models expect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nq_tflite.errors import PhotosError, did_you_mean, reason_of

Rgb = tuple[float, float, float]

_TORCHVISION: tuple[Rgb, Rgb] = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
#: Names of the pixel ranges that models expect.
PixelRange = Literal["imagenet", "mobilenet_v2", "efficientnet_lite0", "-1..1", "0..1", "0..255"]
#: (mean, standard deviation) of 8-bit RGB pixels, by the name that --preprocess takes: input = (pixel - mean) / std.
PIXEL_RANGES: dict[PixelRange, tuple[Rgb, Rgb]] = {
    "imagenet": _TORCHVISION,
    "mobilenet_v2": _TORCHVISION,
    "efficientnet_lite0": ((127.0,) * 3, (128.0,) * 3),
    "-1..1": ((127.5,) * 3, (127.5,) * 3),
    "0..1": ((0.0,) * 3, (255.0,) * 3),
    "0..255": ((0.0,) * 3, (1.0,) * 3),
}


@dataclass(frozen=True)
class PixelPreprocessing:
    """How a photo becomes a model's input: (pixel - mean) / std of 8-bit pixels.

    The photo is resized (bilinear with antialiasing, the aspect ratio kept) until the input is `crop_fraction` of it,
    then its middle is cut out.

    Attributes:
        height, width, channels: of the input; 3 channels are RGB, 1 is grey.
        mean, std: of each RGB channel; grey takes the first.
        crop_fraction: above 0, at most 1.
    """

    height: int
    width: int
    channels: int
    mean: Rgb
    std: Rgb
    crop_fraction: float = 0.875

    def apply(self, photo: Image.Image | Path | str) -> NDArray[np.float32]:
        """Prepares a Pillow image of any mode, or the image file of that path: float32 [height, width, channels].

        Raises:
            PhotosError: the path cannot be read as an image.
        """
        image = photo if isinstance(photo, Image.Image) else open_photo(Path(photo))
        pixels = np.asarray(self._middle(image.convert("L" if self.channels == 1 else "RGB")), np.float32)
        mean, std = (np.asarray(values[: self.channels], np.float32) for values in (self.mean, self.std))
        return (pixels.reshape(self.height, self.width, self.channels) - mean) / std

    def _middle(self, image: Image.Image) -> Image.Image:
        wanted = (self.width, self.height)
        scale = max(round(side / self.crop_fraction) / own for side, own in zip(wanted, image.size, strict=True))
        width, height = (max(side, round(own * scale)) for side, own in zip(wanted, image.size, strict=True))
        left, top = (width - self.width) // 2, (height - self.height) // 2
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return resized.crop((left, top, left + self.width, top + self.height))


def pixel_preprocessing(
    name: PixelRange, height: int, width: int, channels: int = 3, crop_fraction: float = 0.875
) -> PixelPreprocessing:
    """The preprocessing of that name for an input's shape.

    Args:
        name: one of `PIXEL_RANGES`.
        height, width, channels: of the model's input.
        crop_fraction: part of the photo, along its tighter side, that is used.

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
    if not 0.0 < crop_fraction <= 1.0:
        raise PhotosError("crop fraction", expected="above 0 and at most 1", got=str(crop_fraction))
    return PixelPreprocessing(height, width, channels, *PIXEL_RANGES[name], crop_fraction)


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
