"""Seeded images for calibration without data: what a net sees first, edges and textures of every size, as photos have.

An image is a pile of *dead leaves*, opaque shapes that hide each other (Lee, Mumford and Huang, "Occlusion models for
natural images", 2001): its edges, its flat parts and its spectrum are those of photos. Each leaf has a colour, a
shading and a texture of *pink noise* (amplitude 1/f); some images are pink noise alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import RepresentativeDataError

Float32 = NDArray[np.float32]

CHANNEL_CORRELATION = 0.9
"""Between any two channels, as between red, green and blue of photos."""

_LEAVES = 96
_LARGEST, _SMALLEST = 0.5, 0.025  # radii, in units of the image's longer side
_NOISE_SHARE = 0.25
_CHUNK = 16  # images at a time, of one generator of randomness


def procedural_images(count: int, height: int, width: int, channels: int, seed: int = 0) -> Iterator[Float32]:
    """Images that stand in for photos, one by one: float32 [height, width, channels] in [0, 1].

    The same arguments give the same images. About one in four is pink noise, the others are dead leaves.

    >>> [image.shape for image in procedural_images(2, 32, 48, 3, seed=1)]
    [(32, 48, 3), (32, 48, 3)]

    Raises:
        RepresentativeDataError: a count or size that is not positive.
    """
    if min(count, height, width, channels) < 1:
        raise RepresentativeDataError(
            "procedural images", expected="positive sizes", got=f"{count} of {height} x {width} x {channels}"
        )
    starts = range(0, count, _CHUNK)
    return chain.from_iterable(
        _painted(np.random.default_rng([seed, number]), min(_CHUNK, count - start), (height, width, channels))
        for number, start in enumerate(starts)
    )


def pink_noise(rng: np.random.Generator, shape: tuple[int, int, int, int], slopes: NDArray[np.float64]) -> Float32:
    """Noise of amplitude 1 / f^slope with correlated channels: float32 [count, height, width, channels].

    Every image has mean 0 and, over all its channels, deviation 1.

    Args:
        rng: where the randomness comes from.
        shape: count, height, width, channels.
        slopes: [count], 0 for white noise, 1 for pink.
    """
    count, height, width, channels = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1.0
    amplitude = np.exp(-slopes[:, None, None] * np.log(frequency)).astype(np.float32)
    amplitude[:, 0, 0] = 0.0
    spectrum = rng.standard_normal((count, channels, *frequency.shape, 2), np.float32).view(np.complex64)[..., 0]
    planes = np.fft.irfft2(spectrum * amplitude[:, None], (height, width)).astype(np.float32)
    noise = np.ascontiguousarray(np.moveaxis(planes, 1, -1)) @ _channel_mixing(channels)
    deviation = np.sqrt(np.square(noise).mean(axis=(1, 2, 3), keepdims=True))
    return np.asarray(noise / np.where(deviation > 0, deviation, 1), np.float32)


def _channel_mixing(channels: int) -> Float32:
    """[channels, channels], symmetric: makes white channels correlate by `CHANNEL_CORRELATION`."""
    own, common = 1 - CHANNEL_CORRELATION, 1 - CHANNEL_CORRELATION + channels * CHANNEL_CORRELATION
    shared = (np.sqrt(common) - np.sqrt(own)) / channels
    return np.asarray(np.sqrt(own) * np.eye(channels) + shared, np.float32)


def _painted(rng: np.random.Generator, count: int, shape: tuple[int, int, int]) -> Iterator[Float32]:
    """Images of that shape, one by one."""
    channels = shape[2]
    noise = _noise_of_each(rng, count, shape)
    palette = rng.standard_normal((count * _LEAVES, channels)) @ _channel_mixing(channels)
    slopes = rng.normal(0, 1.5, (count * _LEAVES, 2)) * rng.uniform(0, 1, (count * _LEAVES, 1)) ** 2
    roughness = 0.7 * rng.uniform(0, 1, count * _LEAVES) ** 2
    all_noise = rng.uniform(size=count) < _NOISE_SHARE
    focus = rng.uniform(0, 0.6, count)
    contrast, brightness = rng.uniform(0.12, 0.32, count), rng.normal(0.45, 0.1, count)
    for index, leaf in enumerate(_leaf_maps(rng, count, *shape[:2])):
        image, own = noise[index].copy(), slice(_LEAVES * index, _LEAVES * (index + 1))
        if not all_noise[index]:
            image *= _pick(roughness[own, None], leaf)
            image += _pick(palette[own], leaf)
            image += _shading(_pick(slopes[own], leaf))
        _soften(image, focus[index])
        image *= np.float32(contrast[index])
        image += np.float32(brightness[index])
        yield np.clip(image, 0, 1, out=image)


def _noise_of_each(rng: np.random.Generator, count: int, shape: tuple[int, int, int]) -> list[Float32]:
    """Pink noise of that shape for each image; spectra are dear, so four images share one, turned and mirrored."""
    fields = pink_noise(rng, (-(-count // 4), *shape), rng.uniform(0.7, 1.4, -(-count // 4)))
    turned = [fields, fields[:, ::-1, :, ::-1], fields[:, :, ::-1], fields[:, ::-1, ::-1, ::-1]]
    return [field for each in turned for field in each][:count]


def _pick(table: NDArray[np.float64], leaf: NDArray[np.int32]) -> Float32:
    """A row of the table for each pixel: [height, width, columns of the table]."""
    return np.asarray(np.take(table.astype(np.float32), leaf, axis=0))


def _shading(slope: Float32) -> Float32:
    """Brightness that rises with that slope [height, width, 2], 0 in the middle of the image."""
    rows, columns = (np.linspace(-0.5, 0.5, size, dtype=np.float32) for size in slope.shape[:2])
    return np.asarray(slope[..., :1] * rows[:, None, None] + slope[..., 1:] * columns[:, None])


def _leaf_maps(rng: np.random.Generator, count: int, height: int, width: int) -> Iterator[NDArray[np.int32]]:
    """Which leaf is seen at each pixel of an image: [height, width], 0 being the ground. Later leaves hide others."""
    shape = (count, _LEAVES)
    radii = max(height, width) / rng.uniform(1 / _LARGEST, 1 / _SMALLEST, shape)  # density r^-2
    down, right = height * rng.uniform(0, 1, shape), width * rng.uniform(0, 1, shape)
    corners = rng.choice([0, 3, 4, 4, 5, 6], shape)
    turns, aspects = rng.uniform(0, 2 * np.pi, shape), rng.uniform(0.4, 1, shape)
    rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    for image in range(count):
        leaf = np.zeros((height, width), np.int32)
        for i in range(1, _LEAVES):
            radius, y, x = radii[image, i], down[image, i], right[image, i]
            at = (
                slice(max(0, int(y - radius)), int(y + radius) + 2),
                slice(max(0, int(x - radius)), int(x + radius) + 2),
            )
            shape_of = (radius, corners[image, i], turns[image, i], aspects[image, i])
            leaf[at][_inside(rows[at[0], None] - y, columns[at[1]] - x, *shape_of)] = i
        yield leaf


def _inside(
    down: Float32, right: Float32, radius: float, corners: int, turn: float, aspect: float
) -> NDArray[np.bool_]:
    """The pixels within a disk (no corners) or a polygon of that radius; polygons are squeezed by their aspect."""
    if corners == 0:
        return np.asarray(right * right < radius * radius - down * down)
    angles = turn + 2 * np.pi / corners * np.arange(corners)
    edges = radius * np.cos(np.pi / corners) * np.where(np.arange(corners) % 2, aspect, 1)
    inside = np.ones((len(down), len(right)), np.bool_)
    for sine, cosine, edge in zip(np.sin(angles), np.cos(angles), edges, strict=True):
        inside &= cosine * right < edge - sine * down
    return inside


def _soften(image: Float32, focus: float) -> None:
    """Blurs in place along both axes, focus from 0 (not at all) up: edges of photos are never a step."""
    for axis in (0, 1):
        lines = np.moveaxis(image, axis, 0)
        lines[1:-1] += np.float32(focus / 4) * (lines[:-2] + lines[2:] - 2 * lines[1:-1])
