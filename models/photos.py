"""Real photos that installed packages carry (scikit-image and scikit-learn); no network, nothing is copied.

Demo and calibration photos come from different files, so a demo never shows what a model was calibrated on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from nq_tflite.errors import MissingPackageError, ModelSourceError

Box = tuple[int, int, int, int]

_INSTALL = "Run `pip install scikit-image scikit-learn`."

SMALLEST_CROP = 0.5
"""Side of the smallest calibration crop, as a fraction of the photo's shorter side."""


_PORTRAIT = "skimage/data/astronaut.png"


@dataclass(frozen=True)
class DemoPhoto:
    """A photo with one clear subject, RGB, and the ImageNet-1k class indices that count as right for it."""

    name: str
    source: str
    image: Image.Image
    accepted: frozenset[int]


@dataclass(frozen=True)
class _DemoCrop:
    name: str
    source: str
    box: Box
    """Left, top, right, bottom in pixels of the source."""
    accepted: frozenset[int]


# Several classes are accepted where the subject fits several: ImageNet has three names for a striped cat.
_DEMO_CROPS = (
    _DemoCrop("cat", "skimage/data/chelsea.png", (80, 0, 380, 300), frozenset({281, 282, 285})),
    _DemoCrop("coffee", "skimage/data/coffee.png", (100, 0, 500, 400), frozenset({504, 967, 968})),
    _DemoCrop("rocket", "skimage/data/rocket.jpg", (220, 120, 420, 320), frozenset({657, 744, 812})),
    _DemoCrop("pagoda", "sklearn/datasets/images/china.jpg", (110, 0, 430, 320), frozenset({663, 698})),
    _DemoCrop("tripod", "skimage/data/camera.png", (150, 112, 512, 512), frozenset({872})),
)

# Natural scenes stand first and are used once more than the textures when the count is no multiple of the list.
_CALIBRATION_SOURCES = (
    "skimage/data/motorcycle_left.png",
    _PORTRAIT,
    "sklearn/datasets/images/flower.jpg",
    "skimage/data/motorcycle_right.png",
    "skimage/data/coins.png",
    "skimage/data/grass.png",
    "skimage/data/brick.png",
    "skimage/data/gravel.png",
    "skimage/data/page.png",
    "skimage/data/ihc.png",
    "skimage/data/hubble_deep_field.jpg",
)


def demo_sources() -> frozenset[str]:
    """The files behind `demo_photos`, as <package>/<path inside it>.

    Example:
      assert demo_sources().isdisjoint(calibration_sources())
    """
    return frozenset(crop.source for crop in _DEMO_CROPS)


def calibration_sources() -> frozenset[str]:
    """The files behind `calibration_photos`, as <package>/<path inside it>.

    Example:
      "skimage/data/astronaut.png" in calibration_sources()  # True
    """
    return frozenset(_CALIBRATION_SOURCES)


def demo_photos() -> tuple[DemoPhoto, ...]:
    """Five photos that the float MobileNetV2 labels right.

    Raises:
      MissingPackageError: scikit-image or scikit-learn is not installed.
      ModelSourceError: the installed version does not carry a photo.

    Example:
      [photo.name for photo in demo_photos()]  # ["cat", "coffee", "rocket", "pagoda", "tripod"]
    """
    return tuple(
        DemoPhoto(crop.name, crop.source, _open(crop.source).crop(crop.box), crop.accepted) for crop in _DEMO_CROPS
    )


def write_demo_photos(folder: Path) -> None:
    """Writes `demo_photos` as PNG files with their labels.csv, as `nq-tflite evaluate` reads them.

    Args:
      folder: an existing one.

    Raises:
      MissingPackageError, ModelSourceError: as `demo_photos`.

    Example:
      write_demo_photos(Path("photos"))
    """
    rows = ["file,imagenet_indices"]
    for photo in demo_photos():
        photo.image.save(folder / f"{photo.name}.png")
        rows.append(f"{photo.name}.png,{' '.join(map(str, sorted(photo.accepted)))}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def calibration_photos(count: int = 64, seed: int = 0) -> tuple[Image.Image, ...]:
    """Random square crops, half of them mirrored, of photos that are not demo photos.

    Args:
      count: how many; the source files take turns.
      seed: the same seed gives the same pixels.

    Returns:
      RGB images of different sizes, to be given to `PixelPreprocessing.apply`.

    Raises:
      ValueError: count is negative.
      MissingPackageError, ModelSourceError: as `demo_photos`.

    Example:
      representative_data = [preprocessing.apply(photo)[None] for photo in calibration_photos(count=8)]
    """
    return _random_crops([_open(source) for source in _CALIBRATION_SOURCES[:count]], count, seed)


def demo_views(count: int = 40, seed: int = 0) -> tuple[Image.Image, ...]:
    """Random square crops of the demo photos, half of them mirrored: for comparing a model with itself, as a crop may
    have lost the subject.

    Args:
      count: how many; the photos take turns.
      seed: the same seed gives the same pixels.

    Raises:
      ValueError: count is negative.
      MissingPackageError, ModelSourceError: as `demo_photos`.

    Example:
      len(demo_views(count=8))  # 8
    """
    return _random_crops([photo.image for photo in demo_photos()], count, seed)


def portraits(count: int, height: int, width: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Random crops of one photo of a person, for models that look for one: float32 [count, height, width, 3] in [0, 1].

    Raises:
      MissingPackageError, ModelSourceError: as `demo_photos`.

    Example:
      portraits(3, 192, 192).shape  # (3, 192, 192, 3)
    """
    rng, photo = np.random.default_rng(seed), _open(_PORTRAIT)
    crops = [_random_crop(rng, photo).resize((width, height)) for _ in range(count)]
    return np.stack([np.asarray(crop, np.float32) / 255 for crop in crops])


def _random_crops(sources: Sequence[Image.Image], count: int, seed: int) -> tuple[Image.Image, ...]:
    if count < 0:
        raise ValueError(f"count: expected 0 or more, got {count}")
    rng = np.random.default_rng(seed)
    return tuple(_random_crop(rng, sources[index % len(sources)]) for index in range(count))


def _random_crop(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    side = round(min(photo.size) * rng.uniform(SMALLEST_CROP, 1.0))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
    crop = photo.crop((left, top, left + side, top + side))
    return ImageOps.mirror(crop) if rng.random() < 0.5 else crop


def _open(source: str) -> Image.Image:
    """Reads <package>/<path> as RGB, wherever the package is installed."""
    package, path = source.split("/", 1)
    try:
        with resources.files(package).joinpath(path).open("rb") as file, Image.open(file) as image:
            return image.convert("RGB")
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"photo {source}", expected=f"the package {package}", got="none", fix=_INSTALL
        ) from error
    except OSError as error:
        raise ModelSourceError(f"photo {source}", expected="an image file", got=str(error), fix=_INSTALL) from error
