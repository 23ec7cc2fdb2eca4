"""Procedural images: seeded, in range, and alike photos where a first convolution looks."""

from __future__ import annotations

import numpy as np
import pytest

from nq_tflite.conversion.sources.procedural import CHANNEL_CORRELATION, pink_noise, procedural_images
from nq_tflite.errors import RepresentativeDataError


def images_of(*shape: int, seed: int = 0) -> np.ndarray:
    """[count, height, width, channels]"""
    return np.stack([*procedural_images(*shape, seed=seed)])


@pytest.mark.parametrize(
    "shape", [(2, 32, 48, 3), (17, 8, 8, 1), (3, 49, 10, 1), (1, 1, 1, 3), (2, 5, 1, 2), (1, 2, 3, 7)]
)
def test_shape_range_and_seed(shape: tuple[int, int, int, int]) -> None:
    images = images_of(*shape, seed=1)
    assert images.shape == shape
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    np.testing.assert_array_equal(images, images_of(*shape, seed=1))
    assert (images != images_of(*shape, seed=2)).any()


def test_statistics_are_those_of_photos() -> None:
    """Grey on average, contrast as ImageNet's (0.23), channels that go together, neighbours that look alike."""
    images = images_of(32, 96, 96, 3)
    pixels = images.reshape(-1, 3)
    np.testing.assert_allclose(pixels.mean(0), 0.46, atol=0.06)
    np.testing.assert_allclose(pixels.std(0), 0.23, atol=0.04)
    correlation = np.corrcoef(pixels.T)
    np.testing.assert_allclose(correlation[np.triu_indices(3, 1)], CHANNEL_CORRELATION, atol=0.05)
    neighbours = np.corrcoef(images[:, 1:].ravel(), images[:, :-1].ravel())[0, 1]
    assert 0.85 < neighbours < 0.99
    assert len(np.unique(images.reshape(32, -1), axis=0)) == 32


@pytest.mark.parametrize("slope", [0.5, 1.0, 1.5])
def test_the_spectrum_falls_with_the_slope(slope: float) -> None:
    noise = pink_noise(np.random.default_rng(3), (8, 64, 64, 2), np.full(8, slope))
    np.testing.assert_allclose(noise.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(noise.std((1, 2, 3)), 1, rtol=1e-4)
    power = np.square(np.abs(np.fft.rfft2(noise, axes=(1, 2)))).mean((0, 3))
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64))
    low, high = (power[np.abs(frequency - f) < 0.02].mean() for f in (0.1, 0.4))
    assert np.log(low / high) / np.log(4) == pytest.approx(2 * slope, abs=0.25)


@pytest.mark.parametrize("sizes", [(0, 4, 4, 3), (1, -1, 4, 3), (1, 4, 4, 0)])
def test_sizes_must_be_positive(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(RepresentativeDataError, match="positive"):
        procedural_images(*sizes)
