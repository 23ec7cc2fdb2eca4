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

Rows = NDArray[np.float32]
Real = NDArray[np.floating[Any]]

#: Depths that are finished before the others hear of their changes: what goes on inside is vectors, the rest matrices.
BLOCK = 64


def blocks(depth: int) -> Iterator[slice]:
    """Of BLOCK places each, from the first to the last."""
    return (slice(begin, min(begin + BLOCK, depth)) for begin in range(0, depth, BLOCK))


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
        """By Cholesky, block after block from the last depth up, in place in one copy of `hessian`."""
        depth = hessian.shape[1]
        order = np.argsort(-np.diagonal(hessian, axis1=1, axis2=2).mean(axis=0), kind="stable")
        rows = hessian[:, order[:, None], order]
        for block in reversed(list(blocks(depth))):
            left, done = slice(0, block.stop), slice(block.stop, depth)
            rest = rows[:, block, left]
            if block.stop < depth:
                rest = rest - rows[:, done, block].transpose(0, 2, 1) @ rows[:, done, left]
            corner = rest[:, ::-1, block][:, :, ::-1]
            upper = np.linalg.cholesky(corner)[:, ::-1, ::-1]
            rows[:, block, left] = np.tril(np.linalg.inv(upper) @ rest, block.start)
            rows[:, block, done] = 0.0
        lower = rows.astype(np.float32)
        pivots = np.diagonal(lower, axis1=1, axis2=2).copy()
        lower /= pivots[:, :, None]
        return cls(order, lower, np.square(pivots))

    def solve(self, right: Rows) -> Rows:
        """X of H X = `right` [groups, depth, channels]."""
        lower, x, depth = self.lower, right[:, self.order], right.shape[1]
        corners = {block.start: np.linalg.inv(lower[:, block, block]) for block in blocks(depth)}
        for block in reversed(list(blocks(depth))):
            done = slice(block.stop, depth)
            rest = x[:, block] - lower[:, done, block].transpose(0, 2, 1) @ x[:, done]
            x[:, block] = corners[block.start].transpose(0, 2, 1) @ rest
        x /= self.pivots[:, :, None]
        for block in blocks(depth):
            done = slice(0, block.start)
            x[:, block] = corners[block.start] @ (x[:, block] - lower[:, block, done] @ x[:, done])
        placed = np.empty_like(x)
        placed[:, self.order] = x
        return placed


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
            right = seen.transpose(0, 2, 1) @ (lost @ values)
        else:
            right = (seen.transpose(0, 2, 1) @ lost) @ values
        right *= np.float32(self.belief / seen.shape[1])
        return values + self.factor.solve(right)
