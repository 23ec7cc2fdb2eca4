"""Large products by a runtime: near NumPy's, and the same bytes with any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from nq_tflite.conversion.rounding import products
from nq_tflite.conversion.rounding.products import gram, product

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_MANY", 0)
    monkeypatch.setattr(products, "_WIDE", 1)


@pytest.mark.parametrize(("rows", "terms", "columns"), [(3, 5, 7), (65, 1024, 130), (64, 2999, 50), (50, 1025, 64)])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_are_numpys(rows: int, terms: int, columns: int, transposed: bool) -> None:
    left = RNG.normal(size=(2, rows, terms)).astype(np.float32)
    if transposed:
        left = np.ascontiguousarray(left.transpose(0, 2, 1)).transpose(0, 2, 1)
    right = RNG.normal(size=(2, terms, columns)).astype(np.float32)
    wanted = left.astype(np.float64) @ right.astype(np.float64)
    np.testing.assert_allclose(product(left, right), wanted, atol=2e-6 * terms**0.5 * np.abs(wanted).max())


@pytest.mark.parametrize("depth", [40, products._TILE + 9])
def test_grams_are_symmetric(depth: int) -> None:
    rows = RNG.normal(size=(1, 300, depth)).astype(np.float32)
    found = gram(rows)
    np.testing.assert_array_equal(found, found.transpose(0, 2, 1))
    np.testing.assert_allclose(found, rows.transpose(0, 2, 1) @ rows, atol=1e-3)


def test_bytes_are_the_same_with_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = (RNG.normal(size=(1, 330, 330)).astype(np.float32) for _ in range(2))
    found = set()
    for count in (1, 2, 3, 8):
        monkeypatch.setattr("os.cpu_count", lambda count=count: count)
        found.add(product(left, right).tobytes())
    assert len(found) == 1
