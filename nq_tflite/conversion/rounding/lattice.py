"""The nearest points of a lattice in the measure of a quadratic: where to start, and how to get better.

All of it is float32, [groups, depth, channels of a group] as in quadratic.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nq_tflite.conversion.rounding.products import Rows, product
from nq_tflite.conversion.rounding.quadratic import BLOCK, PANEL, Quadratic, blocks

_SWEEPS = 3
#: A sweep that changes no larger a share of the weights is the last.
_STILL = 0.002


@dataclass(frozen=True)
class Lattice:
    """Values that weights may take at a level: v = scale * (cell * width + middle), low <= cell <= high.

    Attributes:
        width: of a cell, in codes.
        middle: [depth]
        low, high: [groups, depth, channels of a group]
        scales: [depth, channels] of weights with a scale for each group of inputs; None if codes are the unit.
    """

    width: int
    middle: Rows
    low: Rows
    high: Rows
    scales: Rows | None = None

    @cached_property
    def widths(self) -> Rows:
        """In the unit of v: [depth, channels] or [depth, 1]."""
        width = np.full((len(self.middle), 1), self.width, np.float32)
        return width if self.scales is None else width * self.scales

    @cached_property
    def middles(self) -> Rows:
        """In the unit of v: [depth, channels] or [depth, 1]."""
        middle = self.middle[:, None]
        return middle if self.scales is None else middle * self.scales

    def values(self, cells: Rows) -> Rows:
        """v"""
        return np.asarray(cells * self.widths + self.middles)


#: (depth, and there [groups, channels of a group]: cells, gradient; curvature [groups, 1]) -> the cells to take.
Choice = Callable[[int, Rows, Rows, Rows], Rows]


def sweep(quadratic: Quadratic, target: Rows, lattice: Lattice, start: Rows, choose: Choice) -> Rows:
    """Coordinate descent: depth by depth, each weight to what is best with all others as they are."""
    cells, hessian = start.copy(), quadratic.hessian
    away, widths = lattice.values(cells) - target, lattice.widths
    depth = cells.shape[1]
    for _ in range(_SWEEPS * (3 if depth < BLOCK else 1)):
        changed = 0
        for panel in blocks(depth, PANEL):
            gradient = product(hessian[:, panel], away)
            for block in blocks(panel.stop, start=panel.start):
                near, within = gradient[:, : block.stop - block.start], hessian[:, block, block]
                before, behind = away[:, block].copy(), slice(block.stop, panel.stop)
                for j, at in enumerate(range(block.start, block.stop)):
                    chosen = choose(at, cells[:, at], near[:, j], within[:, j, j, None])
                    step = (chosen - cells[:, at]) * widths[at]
                    count = np.count_nonzero(step)
                    if count:
                        changed += count
                        cells[:, at] = chosen
                        away[:, at] += step
                        near[:, j + 1 :] += within[:, j + 1 :, j, None] * step[:, None]
                gradient = gradient[:, block.stop - block.start :]
                if block.stop < panel.stop:
                    gradient += hessian[:, behind, block] @ (away[:, block] - before)
        if changed <= _STILL * cells.size:
            break
    return cells


def gptq(quadratic: Quadratic, target: Rows, lattice: Lattice) -> Rows:
    """Rounds depth after depth, those of the greatest curvature first.

    With H = M' D M and e = v - t, the error is

        e H e' = sum over depths j of D_j (e_j + sum over i < j of M_ji e_i)^2

    Each e_j makes its own term least, given the ones before it. That is GPTQ, without an inverse.
    """
    order, lower = quadratic.factor.order, quadratic.factor.lower
    wanted, middles, widths = target[:, order], lattice.middles[order], lattice.widths[order]
    low, high = lattice.low[:, order], lattice.high[:, order]
    cells, errors = np.empty_like(wanted), np.empty_like(wanted)
    for panel in blocks(wanted.shape[1], PANEL):
        best = wanted[:, panel] - middles[panel] - product(lower[:, panel, : panel.start], errors[:, : panel.start])
        for block in blocks(panel.stop, start=panel.start):
            near, within = best[:, : block.stop - block.start], lower[:, block, block]
            for j, at in enumerate(range(block.start, block.stop)):
                cells[:, at] = np.minimum(np.maximum(np.rint(near[:, j] / widths[at]), low[:, at]), high[:, at])
                errors[:, at] = cells[:, at] * widths[at] + middles[at] - wanted[:, at]
                near[:, j + 1 :] -= within[:, j + 1 :, j, None] * errors[:, None, at]
            best = best[:, block.stop - block.start :]
            best -= lower[:, block.stop : panel.stop, block] @ errors[:, block]
    placed = np.empty_like(cells)
    placed[:, order] = cells
    return placed
