"""How a model is divided between fused partitions and the runtime, as data and as lines of text."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from nq_tflite.records import from_dict
from nq_tflite.units import html_view

#: Where an operator runs, in the order of nq.h's nq_place.
Place = Literal["fused", "unpacked", "runtime"]
PLACES: tuple[Place, ...] = get_args(Place)


@dataclass(frozen=True)
class DelegatedOperator:
    """One operator of a model. An operator that unpacks a weight is listed together with the one that reads it.

    Attributes:
        name: its name in TFLite's schema, such as "CONV_2D", or the name of a custom operator.
        output: name of its first output tensor.
        weight: name of its nested weight, if it has one.
        place: "fused": in a partition, by this library's kernels, on packed weights. "unpacked": by the runtime's
            kernels; its nested weight is unpacked at every invocation. "runtime": by the runtime's kernels or those of
            another delegate.
        reason: why it is not fused; None if it is.
    """

    name: str
    output: str
    weight: str | None
    place: Place
    reason: str | None


@dataclass(frozen=True)
class Delegation:
    """Which operators run where.

    Attributes:
        operators: in the order they run.
        num_partitions: the number of partitions that the fused operators form. The runtime runs what lies between them.

    Example:
        >>> conv = DelegatedOperator("CONV_2D", "y", "w", "unpacked", "several groups; one is supported")
        >>> Delegation((conv,), num_partitions=0).summary()
        '0 of 1 nested weight fused, 0 partitions; unpacked: 1 (several groups; one is supported)'
    """

    operators: tuple[DelegatedOperator, ...]
    num_partitions: int

    @property
    def nested(self) -> tuple[DelegatedOperator, ...]:
        """The operators that have a nested weight."""
        return tuple(each for each in self.operators if each.weight is not None)

    @property
    def num_fused_weights(self) -> int:
        """The number of nested weights whose layers compute directly on packed bits."""
        return sum(each.place == "fused" for each in self.nested)

    def reader_of(self, weight: str) -> DelegatedOperator | None:
        """The operator that computes with the nested weight of that name; None if the model has no such weight."""
        return next((each for each in self.nested if each.weight == weight), None)

    def summary(self) -> str:
        """One line: nested weights fused, partitions, and why the others are unpacked.

        >>> Delegation((), 0).summary()
        '0 of 0 nested weights fused, 0 partitions'
        """
        unpacked = ", ".join(f"{count} ({reason})" for reason, count in self._unpacked().most_common())
        return f"{self._fused()}; unpacked: {unpacked}" if unpacked else self._fused()

    def lines(self) -> tuple[str, ...]:
        """Nested weights fused, then a line for each reason why others, and other operators, are not.

        >>> softmax = DelegatedOperator("SOFTMAX", "y", None, "runtime", "no kernel for the operator")
        >>> Delegation((softmax,), 1).lines()[1]
        'left with the runtime: 1 SOFTMAX (no kernel for the operator)'
        """
        unpacked = self._unpacked().most_common()
        left = Counter((each.name, each.reason) for each in self.operators if each.place == "runtime").most_common()
        return (
            self._fused(),
            *(f"unpacked for the runtime's kernels: {_count(number, 'weight')} ({why})" for why, number in unpacked),
            *(f"left with the runtime: {number} {name} ({why})" for (name, why), number in left),
        )

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return html_view(self.lines())

    def _fused(self) -> str:
        partitions = _count(self.num_partitions, "partition")
        return f"{self.num_fused_weights} of {_count(len(self.nested), 'nested weight')} fused, {partitions}"

    def _unpacked(self) -> Counter[str | None]:
        return Counter(each.reason for each in self.nested if each.place == "unpacked")

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Delegation:
        """What `as_dict` gave, after a journey through JSON."""
        return from_dict(cls, data)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
