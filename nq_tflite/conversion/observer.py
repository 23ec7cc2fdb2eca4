"""What rounding asks of whoever runs the net while its weights are rounded, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nq_tflite.conversion.rounding.statistics import InputStatistics
from nq_tflite.graph.flatbuffer import Array
from nq_tflite.graph.sites import Site

#: A weight in its tensor's own type and shape, and the bias that goes with it; None: the bias stays.
Constants = tuple[Array, Array | None]


class Observer(Protocol):
    """Observes a layer's inputs before its weight is rounded, and learns what became of the weight afterwards."""

    def observe(self, site: Site, *, covariances: bool) -> tuple[InputStatistics, ...]:
        """Statistics of the weight's inputs for each level, part-bit first; empty where they cannot be had.

        Args:
            site: where the weight is read.
            covariances: whether they are needed beside the means.
        """

    def settle(self, site: Site, levels: Sequence[Constants]) -> None:
        """Learns what the weight and its bias are at each level, part-bit first."""
