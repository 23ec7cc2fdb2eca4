"""What rounding may know of a layer's inputs: their means, and how they vary together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Real = NDArray[np.floating[Any]]

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
        quadratic: of the output error; None where only means are known.
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
class Quadratic:
    """H and what goes with it.

    Attributes:
        hessian: [groups, depth, depth]: H with ridges, in any unit: the codes of the least error are the same.
        inverse: of it.
        shift: [groups, depth, depth], what turns w into t from the right.
    """

    hessian: Real
    inverse: Real
    shift: Real

    def target(self, weights: Real) -> Real:
        """t of weights [channels, depth]: they make up for what is lost in earlier layers."""
        groups = len(self.hessian)
        return (weights.reshape(groups, -1, weights.shape[1]) @ self.shift).reshape(weights.shape)


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
        mean = rows.mean(axis=1, dtype=np.float64)
        rows -= mean[:, None].astype(np.float32)
        return cls(mean, rows)

    def around_zero(self) -> CentredRows:
        """The rows with their mean, which counts as they do where no bias takes its error away."""
        return CentredRows(np.zeros_like(self.mean), self.rows + self.mean[:, None].astype(np.float32))

    def covariance(self, other: CentredRows) -> Real:
        """[groups, depth, depth]; in float64 where sums of float32 overflow, as those of values near 1e19 do."""
        transposed = self.rows.transpose(0, 2, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = (transposed @ other.rows).astype(np.float64)
        if not np.isfinite(sums).all():
            sums = transposed.astype(np.float64) @ other.rows.astype(np.float64)
        sums /= self.rows.shape[1]
        return np.asarray(sums)


#: Of each channel's outputs: the variance, and the square of the mean.
Moments = tuple[Real, Real]


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
        return self._moments(error, np.zeros_like(error))

    def total_error(self, values: Real, target: Real) -> Moments:
        """The same of a weight's outputs beside the float net's: the error of the inputs is in it."""
        return self._moments(values, target)

    def _moments(self, values: Real, target: Real) -> Moments:
        groups = len(self.rounded.rows)

        def grouped(matrix: Real) -> Rows:
            return np.asarray(matrix.reshape(groups, -1, matrix.shape[1]).transpose(0, 2, 1), np.float32)

        ours, theirs = grouped(values), grouped(target)
        outputs = self.rounded.rows @ ours - self.exact.rows @ theirs
        means = np.einsum("gk,gkc->gc", self.rounded.mean, ours) - np.einsum("gk,gkc->gc", self.exact.mean, theirs)
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


def _quadratic(original: CentredRows, rounded: CentredRows, prior: Prior | None, taps: int) -> Quadratic:
    """The matrices of deep layers take some 100 MB each, so most are changed in place."""
    hessian = rounded.covariance(rounded)
    ridges = _ridges(hessian, original.mean, prior, taps)
    hessian += ridges
    inverse = np.linalg.inv(hessian)
    across = original.covariance(rounded)
    across += ridges
    del ridges
    shift = across @ inverse
    shift *= _BELIEF
    diagonal = np.arange(shift.shape[-1])
    shift[:, diagonal, diagonal] += 1 - _BELIEF
    unit = _unit(max(float(hessian.max()), -float(hessian.min())))
    hessian /= unit
    inverse *= unit
    return Quadratic(hessian, inverse, shift)


def _unit(largest: float) -> float:
    """What to divide an error by that float32 could not hold: a power of two, and 1 for ordinary errors."""
    return float(2.0 ** np.floor(np.log2(largest))) if largest > _LARGEST else 1.0


def _ridges(covariance: Real, mean: Real, prior: Prior | None, taps: int) -> Real:
    depth = covariance.shape[-1]
    level = np.trace(covariance, axis1=1, axis2=2) / depth
    level = np.maximum(level, 1e-3 * level.mean() + 1e-9)
    ridges: Real = _RIDGE * level[:, None, None] * np.eye(depth)
    if prior is None:
        return ridges
    doubt = (mean - prior.mean) / 2
    ridges += _PRIOR * _prior_covariance(prior, taps) + doubt[:, :, None] * doubt[:, None, :]
    return ridges


def _prior_covariance(prior: Prior, taps: int) -> Real:
    """Inputs vary on their own; the taps of a square kernel on one input vary together, the more the nearer."""
    depth, side = prior.variance.shape[1], round(taps**0.5)
    if depth != taps or taps == 1 or side * side != taps:
        return np.asarray(prior.variance[:, :, None] * np.eye(depth))
    y, x = np.divmod(np.arange(taps), side)
    distance = np.hypot(y[:, None] - y, x[:, None] - x)
    return np.asarray(prior.variance[:, :1, None] * _TAP_CORRELATION**distance)
