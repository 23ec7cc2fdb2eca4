"""What rounding asks of whoever runs the net while its weights are rounded, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nq_tflite.conversion.rounding.statistics import InputStatistics, Rehearsal
from nq_tflite.graph.flatbuffer import Array
from nq_tflite.graph.model import InputSlot, QuantizationT
from nq_tflite.graph.sites import Site


@dataclass(frozen=True)
class Constant:
    """A constant tensor in place of another: its scales may be others too.

    Attributes:
        values: in the tensor's own type and shape: float32, int8 or int32.
        quantization: of the tensor; None if its values are what they are.
    """

    values: Array
    quantization: QuantizationT | None = None


#: What operators of the main subgraph read in place of what their inputs hold.
Constants = dict[InputSlot, Constant]


class Observer(Protocol):
    """Observes a layer's inputs before its weight is rounded, and learns what became of the weight afterwards."""

    def observe(self, site: Site, *, covariances: bool, with_means: bool = False) -> tuple[InputStatistics, ...]:
        """Statistics of the weight's inputs for each level, part-bit first; empty where they cannot be had.

        Args:
            site: where the weight is read.
            covariances: whether they are needed beside the means.
            with_means: whether mean errors of the outputs count, since no bias takes them away.
        """

    def rehearse(self, site: Site) -> Rehearsal | None:
        """What rounding may judge its codes by, after `observe`; None if inputs cannot be had or are too few."""

    def settle(self, site: Site, levels: Sequence[Constants]) -> None:
        """Learns what the site's operators read at each level, part-bit first: the weight, and a bias if it changed."""
