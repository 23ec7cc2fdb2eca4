"""How two classifiers differ that have seen the same inputs: what both get right, or both wrong, tells nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

#: Of the interval.
CONFIDENCE = 0.95
#: Resamples of the bootstrap, and how many of them are in memory at once.
_RESAMPLES, _BATCH = 2000, 100


@dataclass(frozen=True)
class PairedDifference:
    """Of two fractions of right answers on the same inputs.

    Attributes:
        difference: the one's fraction less the other's.
        low, high: ends of the interval of `CONFIDENCE`, by a paired bootstrap of the inputs (percentiles).
        p_value: of McNemar's exact test that neither is better.
        only_first, only_second: inputs that one of them alone gets right.
    """

    difference: float
    low: float
    high: float
    p_value: float
    only_first: int
    only_second: int


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_], seed: int = 0) -> PairedDifference:
    """Compares two classifiers.

    Args:
        first, second: for each input whether the answer is right, bool [inputs], two inputs or more.
        seed: of the bootstrap.

    >>> paired_difference(np.array([True, True, True]), np.array([True, False, True])).only_first
    1
    """
    gains = first.astype(np.float64) - second
    only_first, only_second = int(np.sum(gains > 0)), int(np.sum(gains < 0))
    differing = only_first + only_second
    interval = stats.bootstrap(
        (gains,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return PairedDifference(
        difference=float(gains.mean()),
        low=float(interval.low),
        high=float(interval.high),
        p_value=float(stats.binomtest(only_first, differing).pvalue) if differing else 1.0,
        only_first=only_first,
        only_second=only_second,
    )
