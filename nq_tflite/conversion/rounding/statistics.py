"""The statistics of a layer's inputs that rounding uses: their means and covariance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.rounding.products import Rows, gram, product
from nq_tflite.conversion.rounding.quadratic import Factor, Quadratic, Real, columns

#: Ridges that keep a covariance from few samples invertible, and its directions without evidence from being free.
_RIDGE = 0.01
_PRIOR = 0.1
#: How much is believed of the regression of the float net's inputs on the rounded net's, and of the drift of their
#: means: all of it fits the samples too well, the more so through the noise of INT8 activations.
_BELIEF = 0.5
#: Correlation of neighbouring taps, where the prior knows variances only.
_TAP_CORRELATION = 0.6
#: Entry of H from which on it is in a unit of its own, since descent computes in float32.
_LARGEST = 1e18
#: Narrow rows that are summed up in float32.
_AT_ONCE = 64


@dataclass(frozen=True)
class Prior:
    """What is known of a layer's inputs without samples, from batch norms: means and variances.

    Attributes:
        mean, variance: [groups, depth]
    """

    mean: Real
    variance: Real


@dataclass(frozen=True)
class InputStatistics:
    """A layer's inputs in the float net, and in the net rounded up to that layer.

    The error of a channel's output, summed over inputs x of the float net and y of the rounded one, is, up to a
    constant and with means left to the bias, (v - t) H (v - t)' with H = cov(y, y) and t = w cov(x, y) H^-1. With few
    samples t is taken half way there from w.

    Attributes:
        mean: [groups, depth], mean input of the float net.
        drift: [groups, depth], by how much the rounded net's mean input is taken to be above that: half of what the
            samples say.
        quadratic: of the output error; None if only means are known.
    """

    mean: Real
    drift: Real
    quadratic: Quadratic | None = None

    def dot(self, values: Real, inputs: Real) -> Real:
        """Each channel of `values` [channels, depth] times its group's row of `inputs` [groups, depth]: [channels]."""
        grouped = values.reshape(len(inputs), -1, values.shape[1])
        products: Real = np.einsum("gck,gk->gc", grouped, inputs).reshape(-1)
        return products


@dataclass(frozen=True)
class CentredRows:
    """Rows of a layer's inputs, and their mean.

    Attributes:
        mean: [groups, depth]
        rows: float32 [groups, rows, depth], without it.
    """

    mean: Real
    rows: Rows

    @classmethod
    def of(cls, rows: Rows) -> CentredRows:
        """Takes the mean off `rows`, in place."""
        mean = _mean(rows)
        rows -= mean[:, None].astype(np.float32)
        return cls(mean, rows)

    def around_zero(self) -> CentredRows:
        """The rows with their mean, which counts as they do where no bias takes its error away."""
        return CentredRows(np.zeros_like(self.mean), self.rows + self.mean[:, None].astype(np.float32))

    def divided(self, root: float) -> CentredRows:
        """The same inputs in another unit."""
        return CentredRows(self.mean / root, self.rows / np.float32(root))

    def covariance(self) -> Real:
        """[groups, depth, depth]; in float64 where sums of float32 overflow, as those of values near 1e19 do."""
        with np.errstate(over="ignore", invalid="ignore"):
            sums = gram(self.rows).astype(np.float64)
        if not np.isfinite(sums).all():
            rows = self.rows.astype(np.float64)
            sums = rows.transpose(0, 2, 1) @ rows
        sums /= self.rows.shape[1]
        return np.asarray(sums)


def _mean(rows: Rows) -> Real:
    """[groups, depth]; of narrow rows, over which NumPy is slow in float64, of float32 sums of a few."""
    if rows.shape[2] >= _AT_ONCE:
        return np.asarray(rows.mean(axis=1, dtype=np.float64))
    sums = np.add.reduceat(rows, np.arange(0, rows.shape[1], _AT_ONCE), axis=1)
    return np.asarray(sums.sum(axis=1, dtype=np.float64) / rows.shape[1])


#: Of each channel's outputs: the variance, and the square of the mean.
Moments = tuple[Real, Real]
#: Without their mean, [groups, rows, channels], and the mean.
Outputs = tuple[Rows, Real]


@dataclass(frozen=True)
class Unseen:
    """Inputs of a layer at one level that served no statistics, to judge codes by.

    Attributes:
        exact: of the float net.
        rounded: of the rounded net at the same places.
    """

    exact: CentredRows
    rounded: CentredRows

    @property
    def power(self) -> Real:
        """[groups], variances of the rounded net's inputs, summed."""
        return np.asarray(np.square(self.rounded.rows, dtype=np.float64).sum(axis=2).mean(axis=1))

    def own_error(self, error: Real) -> Moments:
        """What errors of a weight do to the outputs.

        Args:
            error: [channels, depth]
        """
        return _moments(*_outputs(self.rounded, error))

    def wanted(self, target: Real) -> Outputs:
        """The float net's outputs with weights [channels, depth]."""
        return _outputs(self.exact, target)

    def total_error(self, weights: NDArray[Any], wanted: Outputs) -> Moments:
        """Of the outputs with weights [channels, depth] beside those `wanted`: the error of the inputs is in it."""
        ours, mean = _outputs(self.rounded, weights)
        return _moments(ours - wanted[0], mean - wanted[1])


def _outputs(inputs: CentredRows, matrix: NDArray[Any]) -> Outputs:
    """What weights [channels, depth] make of inputs without their mean, [groups, rows, channels], and of the mean."""
    values = columns(matrix, len(inputs.rows))
    return product(inputs.rows, values), np.einsum("gk,gkc->gc", inputs.mean, values)


def _moments(outputs: Rows, means: Real) -> Moments:
    return np.square(outputs, dtype=np.float64).mean(axis=1).ravel(), np.square(means).ravel()


@dataclass(frozen=True)
class Rehearsal:
    """What rounding needs to find out how it does on inputs that it has not seen.

    Attributes:
        statistics: for each level those without the `unseen` inputs; empty where rounding's own leave them out.
        unseen: for each level, part-bit first.
        made_up: whether the inputs are noise, and tell little of those that the model is for.
    """

    statistics: tuple[InputStatistics, ...]
    unseen: tuple[Unseen, ...]
    made_up: bool = False


def input_statistics(
    original: CentredRows, rounded: CentredRows, prior: Prior | None, taps: int, *, covariances: bool = True
) -> InputStatistics:
    """Statistics of rows of inputs.

    Args:
        original: of the float net.
        rounded: of the rounded net at the same places.
        prior: trusted as much as the samples in means, and for some of the variance.
        taps: spatial size of a kernel, for the prior of a depthwise layer.
        covariances: whether they are wanted beside the means.
    """
    mean = original.mean if prior is None else (original.mean + prior.mean) / 2
    quadratic = _quadratic(original, rounded, prior, taps) if covariances else None
    return InputStatistics(mean, _BELIEF * (rounded.mean - original.mean), quadratic)


def level_statistics(
    original: CentredRows, rounded: Sequence[CentredRows], prior: Prior | None, taps: int, *, covariances: bool
) -> tuple[InputStatistics, ...]:
    """Those of every level, in a thread each: a matrix product stays in one, so their number changes no bit.

    Args:
        rounded: of each level's net.
        original, prior, taps, covariances: as `input_statistics`.
    """

    def of_level(each: CentredRows) -> InputStatistics:
        return input_statistics(original, each, prior, taps, covariances=covariances)

    with ThreadPoolExecutor(min(len(rounded), os.cpu_count() or 1)) as pool:
        return tuple(pool.map(of_level, rounded))


def _quadratic(original: CentredRows, rounded: CentredRows, prior: Prior | None, taps: int) -> Quadratic:
    """A matrix of a deep layer takes 170 MB in float64: there are three of them at a time."""
    hessian = rounded.covariance()
    _add_ridges(hessian, original.mean, prior, taps)
    root = _root(max(float(hessian.max()), -float(hessian.min())))
    if root != 1:
        hessian /= root**2
        same = original is rounded
        rounded = rounded.divided(root)
        original = rounded if same else original.divided(root)
    return Quadratic(hessian.astype(np.float32), Factor.of(hessian), original.rows, rounded.rows, _BELIEF)


def _root(largest: float) -> float:
    """What to divide inputs by whose squares float32 could not hold: a power of two, and 1 for ordinary ones."""
    return float(2.0 ** np.floor(np.log2(largest) / 2)) if largest > _LARGEST else 1.0


def _add_ridges(covariance: Real, mean: Real, prior: Prior | None, taps: int) -> None:
    depth = covariance.shape[-1]
    level = np.trace(covariance, axis1=1, axis2=2) / depth
    level = np.maximum(level, 1e-3 * level.mean() + 1e-9)
    if prior is not None:
        doubt = (mean - prior.mean) / 2
        covariance += doubt[:, :, None] * doubt[:, None, :]
        if _vary_together(prior, taps):
            covariance += _PRIOR * _prior_covariance(prior, taps)
        else:
            _diagonal(covariance)[...] += _PRIOR * prior.variance
    _diagonal(covariance)[...] += _RIDGE * level[:, None]


def _diagonal(matrices: Real) -> Real:
    """A view of the diagonals: [groups, depth]."""
    diagonal: Real = np.einsum("gkk->gk", matrices)
    return diagonal


def _vary_together(prior: Prior, taps: int) -> bool:
    """Whether a layer's inputs are the taps of a square kernel on one channel."""
    return prior.variance.shape[1] == taps > 1 and round(taps**0.5) ** 2 == taps


def _prior_covariance(prior: Prior, taps: int) -> Real:
    """The taps of a square kernel on one input vary together, the more the nearer."""
    y, x = np.divmod(np.arange(taps), round(taps**0.5))
    distance = np.hypot(y[:, None] - y, x[:, None] - x)
    return np.asarray(prior.variance[:, :1, None] * _TAP_CORRELATION**distance)
