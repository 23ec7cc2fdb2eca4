"""The squared error of a layer's outputs as a function of its weights' values: (v - t) H (v - t)', t apart from w.

Matrices here have a column a channel, [groups, depth, channels of a group]: all channels' weights at one place of a
filter lie side by side, and a step of a descent is arithmetic on one such row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.rounding.products import Rows, product

Real = NDArray[np.floating[Any]]

#: Depths that are finished before the others hear of their changes: what goes on inside is vectors, the rest matrices.
BLOCK = 64
#: Depths whose blocks hear of each other's changes at once; those of other panels in one large product.
PANEL = 512


def blocks(stop: int, size: int = BLOCK, start: int = 0) -> Iterator[slice]:
    """Of `size` places each, from `start` on; the last one may have fewer."""
    return (slice(begin, min(begin + size, stop)) for begin in range(start, stop, size))


def columns(matrix: NDArray[Any], groups: int) -> Rows:
    """[channels, depth] as float32 [groups, depth, channels of a group]."""
    grouped = matrix.reshape(groups, -1, matrix.shape[-1])
    return np.ascontiguousarray(grouped.transpose(0, 2, 1), np.float32)


def channels(values: Rows) -> Rows:
    """The inverse of `columns`."""
    return values.transpose(0, 2, 1).reshape(-1, values.shape[1])


@dataclass(frozen=True)
class Factor:
    """H = M' D M, with the depths in an order: M is lower triangular with a diagonal of ones, D is diagonal.

    Attributes:
        order: [depth], those of the greatest curvature first.
        lower: M, float32 [groups, depth, depth]
        pivots: of D, float32 [groups, depth]
    """

    order: NDArray[np.int64]
    lower: Rows
    pivots: Rows

    @classmethod
    def of(cls, hessian: NDArray[np.float64]) -> Factor:
        """By Cholesky, block after block from the last depth up, in place in one copy of `hessian`.

        Panels hear of those after them in float32; a matrix for which that is too coarse has all of it in float64.
        """
        order = np.argsort(-np.diagonal(hessian, axis1=1, axis2=2).mean(axis=0), kind="stable")
        try:
            rows = _triangle(hessian[:, order[:, None], order], exact=False)
        except np.linalg.LinAlgError:
            rows = _triangle(hessian[:, order[:, None], order], exact=True)
        lower = rows.astype(np.float32)
        pivots = np.diagonal(lower, axis1=1, axis2=2).copy()
        lower /= pivots[:, :, None]
        return cls(order, lower, np.square(pivots))

    def solve(self, right: Rows) -> Rows:
        """X of H X = `right` [groups, depth, channels]."""
        lower, x, depth = self.lower, right[:, self.order], right.shape[1]
        corners = {block.start: np.linalg.inv(lower[:, block, block]) for block in blocks(depth)}
        for panel in reversed(list(blocks(depth, PANEL))):
            x[:, panel] -= product(lower[:, panel.stop :, panel].transpose(0, 2, 1), x[:, panel.stop :])
            for block in reversed(list(blocks(panel.stop, start=panel.start))):
                done = slice(block.stop, panel.stop)
                rest = x[:, block] - lower[:, done, block].transpose(0, 2, 1) @ x[:, done]
                x[:, block] = corners[block.start].transpose(0, 2, 1) @ rest
        x /= self.pivots[:, :, None]
        for panel in blocks(depth, PANEL):
            x[:, panel] -= product(lower[:, panel, : panel.start], x[:, : panel.start])
            for block in blocks(panel.stop, start=panel.start):
                done = slice(panel.start, block.start)
                x[:, block] = corners[block.start] @ (x[:, block] - lower[:, block, done] @ x[:, done])
        placed = np.empty_like(x)
        placed[:, self.order] = x
        return placed


def _triangle(rows: NDArray[np.float64], *, exact: bool) -> NDArray[np.float64]:
    """L of L' L = `rows`, in place: [groups, depth, depth]."""
    depth = rows.shape[1]
    for panel in reversed(list(blocks(depth, PANEL))):
        if panel.stop < depth:
            known = rows[:, panel.stop :, : panel.stop]
            if exact:
                rows[:, panel, : panel.stop] -= known[:, :, panel].transpose(0, 2, 1) @ known
            else:
                narrow = known.astype(np.float32)
                rows[:, panel, : panel.stop] -= product(narrow[:, :, panel].transpose(0, 2, 1), narrow)
        for block in reversed(list(blocks(panel.stop, start=panel.start))):
            left, done = slice(0, block.stop), slice(block.stop, panel.stop)
            rest = rows[:, block, left] - rows[:, done, block].transpose(0, 2, 1) @ rows[:, done, left]
            corner = rest[:, ::-1, block][:, :, ::-1]
            upper = np.linalg.cholesky(corner)[:, ::-1, ::-1]
            rows[:, block, left] = np.tril(np.linalg.inv(upper) @ rest, block.start)
            rows[:, block, block.stop :] = 0.0
    return rows


@dataclass(frozen=True)
class Quadratic:
    """H, and what turns weights into targets.

    Attributes:
        hessian: float32 [groups, depth, depth]: H with ridges, in any unit: the codes of the least error are the same.
        factor: of it.
        original, rounded: inputs in the float net and in the rounded one, each without its mean, in the root of that
            unit: float32 [groups, rows, depth].
        belief: how much of the regression of one on the other counts.
    """

    hessian: Rows
    factor: Factor
    original: Rows
    rounded: Rows
    belief: float

    def target(self, weights: Real) -> Rows:
        """t of weights [channels, depth], as columns: it makes up for what is lost in earlier layers.

        The weights that come nearest to w x with inputs y are w cov(x, y) H^-1, both with the ridges; that is
        w + w cov(x - y, y) H^-1, of which `belief` counts. The products are done in the order that costs less.
        """
        values = columns(weights, len(self.hessian))
        if self.original is self.rounded:
            return values
        lost, seen = self.original - self.rounded, self.rounded
        if 2 * values.shape[2] < values.shape[1] > BLOCK:
            right = product(seen.transpose(0, 2, 1), product(lost, values))
        else:
            right = product(product(seen.transpose(0, 2, 1), lost), values)
        right *= np.float32(self.belief / seen.shape[1])
        return values + self.factor.solve(right)
