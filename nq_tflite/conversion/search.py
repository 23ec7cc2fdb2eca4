"""`nesting="auto"`: the part-bits that keep a model's accuracy, or the accuracy that a budget of bytes leaves.

NestQuant calls the fewest part-bits, below which accuracy falls steeply, the critical nesting combination, and finds
it by trying all. Because accuracy grows with part-bits, a binary search finds it in two or three trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from nq_tflite.conversion.layer_bits import ROAD, shared_out
from nq_tflite.conversion.plan import make_plan
from nq_tflite.conversion.report import Candidate, Estimate, Search
from nq_tflite.conversion.rounding import METHODS, Method
from nq_tflite.conversion.sensitivity import LEAST_BITS, Sensitivity, measure_sensitivities, spend_bits
from nq_tflite.conversion.sources.source import MOST_HELD_OUT, Samples, Source
from nq_tflite.conversion.trial import Trial, try_nesting
from nq_tflite.errors import NestingError, UnsupportedModelError
from nq_tflite.format.constants import BUFFER_ALIGNMENT, align
from nq_tflite.format.nesting import MAX_FULL_BITS, MIN_PART_BITS, LayerBits, Nesting
from nq_tflite.graph.model import TensorPlace
from nq_tflite.progress import Progress

AUTO = "auto"
MIN_AGREEMENT = 0.95
#: What stands for any agreement where the output is not a row of scores: so much, or so little below full-bit.
MIN_SNR_DB, NEAR_DB = 16.0, 1.0
#: Every so many of the user's samples is held out of rounding.
_EVERY = 4
#: A layer may have so many part-bits more than the nesting says: what is measured of one layer is no surer than that.
_ABOVE = 2


@dataclass(frozen=True)
class Wish:
    """The criteria of a search.

    Attributes:
        min_agreement: part-bit's agreement with the source, as a fraction of full-bit's, because INT8 activations and
            hard inputs cost both. Without it, the search takes the best nesting that the budget allows.
        budget: part-bit bytes over full-bit bytes of the nested weights, at most.
        min_bits: the fewest part-bits that a layer may have.
        layer_bits: whether layers have their own part-bits in a search for an agreement, and may have them in a search
            for the best within a budget.

    Raises:
        NestingError: out of range.
    """

    min_agreement: float | None = None
    budget: float | None = None
    min_bits: int = MIN_PART_BITS
    layer_bits: LayerBits = "own"

    def __post_init__(self) -> None:
        if self.min_agreement is not None and not 0 < self.min_agreement <= 1:
            raise NestingError("min_agreement", expected="a fraction above 0, at most 1", got=repr(self.min_agreement))
        if self.budget is not None and not 0 < self.budget < 1:
            raise NestingError("budget", expected="a fraction between 0 and 1", got=repr(self.budget))
        if self.min_bits not in range(MIN_PART_BITS, MAX_FULL_BITS):
            expected = f"a number of bits from {MIN_PART_BITS} to {MAX_FULL_BITS - 1}"
            raise NestingError("min_bits", expected=expected, got=repr(self.min_bits))

    def accepts(self, candidate: Candidate) -> bool:
        """Whether part-bit agrees enough."""
        if self.min_agreement is None:
            return True
        if candidate.kept is None:
            return candidate.snr_db >= min(MIN_SNR_DB, candidate.full_snr_db - NEAR_DB)
        return candidate.kept >= self.min_agreement

    def affords(self, part_bytes: int, full_bytes: int) -> bool:
        """Whether the budget allows it."""
        return self.budget is None or part_bytes <= self.budget * full_bytes


def search_nesting(source: Source, method: Method, wish: Wish, *, notify: Progress) -> tuple[Trial, Search]:
    """Tries nestings until one satisfies the criteria.

    Args:
        source: with samples.
        method: how to choose the codes.
        wish: what to look for.
        notify: called with a stage's name, the steps done and the steps in all.

    Returns:
        The trial to write, and how it was found. If no trial is accurate enough, it is the most accurate one.

    Raises:
        UnsupportedModelError: nothing can be measured, or nothing can nest.
        NestingError: no nesting fits the budget, or none within the budget has the required agreement.
    """
    judged = replace(source, samples=None if source.samples is None else _hold_out(source.samples))
    search = _Searcher(judged, method, wish, notify)
    best, reason, met = search.run()
    if not met and wish.budget is not None:
        raise NestingError(
            f"budget of {wish.budget:g} with {wish.min_agreement:g} of full-bit's agreement",
            expected="a nesting that satisfies both",
            got=search.curve(),
            fix="Allow more bytes, require less agreement, or leave one of the two out.",
        )
    trials = sorted(search.trials, key=_part_bytes)
    estimate = _estimate(best)
    found = Search(
        min_agreement=wish.min_agreement,
        budget=wish.budget,
        inputs=estimate.inputs,
        num_inputs=estimate.num_inputs,
        held_out=estimate.held_out,
        candidates=tuple(_candidate(trial) for trial in trials),
        chosen=trials.index(best),
        reason=reason,
        met=met,
    )
    if judged.samples is not source.samples:  # the file shall know all samples, the estimate only those it was made on
        best = replace(search.attempt(best.nesting, best.own, source), estimate=best.estimate)
    return best, found


def _hold_out(samples: Samples) -> Samples:
    """Samples with some held out, from all over: neighbours are often alike."""
    count = min(len(samples.arrays) // _EVERY, MOST_HELD_OUT)
    if samples.held_out or not count:
        return samples
    return samples.hold_out(range(_EVERY // 2, count * _EVERY, _EVERY))


class _Searcher:
    """The trials of one search."""

    def __init__(self, source: Source, method: Method, wish: Wish, notify: Progress) -> None:
        self._source, self._method, self._wish, self._notify = source, method, wish, notify
        self._sensitivities: Mapping[TensorPlace, Sensitivity] | None = None
        self.trials: list[Trial] = []

    def run(self) -> tuple[Trial, str, bool]:
        """The best trial, why, and whether it is all that was wished for."""
        wish, part_bits = self._wish, self._affordable()
        if wish.min_agreement is None:
            self._try(Nesting((MAX_FULL_BITS, part_bits[-1])))
        else:
            found = self._fewest(part_bits)
            if found is not None:
                return found, f"the fewest part-bits with {self._asked()}", True
        mixed = None if wish.budget is None or wish.layer_bits == "same" else self._mixed(wish.budget)
        if wish.min_agreement is None:
            best = max(self.trials, key=_snr_db)
            kind = "part-bits of each layer's own" if best is mixed else "the same part-bits for all layers"
            return best, f"the best with {self._asked()}: {kind}", True
        if mixed is not None and wish.accepts(_candidate(mixed)):
            return mixed, f"part-bits of each layer's own are the first with {self._asked()}", True
        best = max(self.trials, key=_nearness)
        return best, f"none has {self._asked()}; this one comes nearest", False

    def attempt(self, nesting: Nesting, own: Mapping[TensorPlace, Nesting], source: Source) -> Trial:
        """One trial."""
        return try_nesting(
            source,
            nesting,
            self._method,
            own=own,
            notify=lambda stage, done, total: self._notify(f"{stage} {nesting}", done, total),
        )

    def curve(self) -> str:
        """All trials in a line."""
        points = (_candidate(trial) for trial in sorted(self.trials, key=_part_bytes))
        return ", ".join(
            f"{each.nesting}{' mixed' if each.mixed else ''}: {each.fraction:.3f} of the bytes, "
            + (f"{each.snr_db:.1f} dB" if each.kept is None else f"{each.kept:.3f} of the agreement")
            for each in points
        )

    def _try(self, nesting: Nesting, own: Mapping[TensorPlace, Nesting] | None = None) -> Trial:
        trial = self.attempt(nesting, own or {}, self._source)
        _candidate(trial)  # raises where nothing was measured
        self.trials.append(trial)
        return trial

    def _fewest(self, part_bits: list[int]) -> Trial | None:
        """The first acceptable one of ascending part-bits."""
        found, low, high = None, 0, len(part_bits)
        while low < high:
            middle = (
                (low + high) // 2 if found else (low + high - 1) // 2
            )  # accuracy falls steeply: one less is the end
            nesting = Nesting((MAX_FULL_BITS, part_bits[middle]))
            trial = self._try(nesting, self._shared_out(nesting))
            if self._wish.accepts(_candidate(trial)):
                found, high = trial, middle
            else:
                low = middle + 1
        return found

    def _shared_out(self, nesting: Nesting) -> Mapping[TensorPlace, Nesting]:
        """Nestings of layers of their own, within the bytes of that one for all layers."""
        if self._wish.layer_bits == "same":
            return {}
        return shared_out(self._measured(), nesting, self._wish.min_bits)

    def _measured(self) -> Mapping[TensorPlace, Sensitivity]:
        if self._sensitivities is None:
            self._notify("measuring layers", 0, 0)
            self._sensitivities = measure_sensitivities(self._source, ROAD)
        return self._sensitivities

    def _affordable(self) -> list[int]:
        """Part-bits that the budget allows for all layers, ascending."""
        budget, least = self._wish.budget, self._wish.min_bits
        if budget is None:
            return list(range(least, MAX_FULL_BITS))
        most = min(int(budget * MAX_FULL_BITS), MAX_FULL_BITS - 1)
        while most >= least and not self._wish.affords(*self._bytes(Nesting((MAX_FULL_BITS, most)), {})):
            most -= 1
        if most < least:
            part, full = self._bytes(Nesting((MAX_FULL_BITS, least)), {})
            expected = f"at least {part / full:.4f} for {least} bits of this model"
            raise NestingError("budget", expected=expected, got=f"{budget:g}")
        return list(range(least, most + 1))

    def _mixed(self, budget: float) -> Trial | None:
        """As many bits as the budget allows, each layer with its own; None if it allows too few."""
        least = self._wish.min_bits
        nominal = Nesting((MAX_FULL_BITS, min(max(round(budget * MAX_FULL_BITS), least), MAX_FULL_BITS - 1)))
        sensitivities = {
            place: replace(each, most_bits=min(each.most_bits, nominal.part_bits + _ABOVE))
            for place, each in self._measured().items()
            if each.most_bits >= least  # with fewer bits than that it is left as it is
        }
        most_bytes = int(budget * MAX_FULL_BITS * sum(each.bit_bytes for each in sensitivities.values()))
        while sensitivities:
            bits = spend_bits(sensitivities, most_bytes, max(LEAST_BITS, least))
            if bits is None:
                return None
            own = {place: Nesting((MAX_FULL_BITS, each)) for place, each in bits.items()}
            part, full = self._bytes(nominal, own)
            if self._wish.affords(part, full):
                return self._try(nominal, own)
            most_bytes -= math.ceil(part - budget * full)  # biases, and weights that were not measured
        return None

    def _bytes(self, nesting: Nesting, own: Mapping[TensorPlace, Nesting]) -> tuple[int, int]:
        """Part-bit and full-bit bytes at most, before any rounding: every weight's level 0 with a bias of its own."""
        source = self._source
        plan = make_plan(
            source.model,
            nesting,
            METHODS["nearest"],
            own=own,
            selection=source.selection,
            widened=source.widened,
            group_size=source.group_size,
        )
        blocks = [weight.option_block() for weight in plan.weights]
        deltas = sum(align(block.channels, BUFFER_ALIGNMENT) for block in blocks)
        part = sum(block.level_bytes(0) for block in blocks)
        return part + deltas, part + deltas + sum(block.level_bytes(1) for block in blocks)

    def _asked(self) -> str:
        agreement, budget = self._wish.min_agreement, self._wish.budget
        parts = [
            "" if agreement is None else f"{agreement:g} of full-bit's agreement",
            "" if budget is None else f"at most {budget:g} of its bytes",
        ]
        return " and ".join(filter(None, parts))


def _candidate(trial: Trial) -> Candidate:
    estimate, (part, residual) = _estimate(trial), trial.level_bytes
    agreement = estimate.expected_agreement or (None, None)
    return Candidate(
        nesting=str(trial.nesting),
        mixed=bool(trial.own),
        agreement=agreement[0],
        snr_db=estimate.snr_db[0],
        full_agreement=agreement[-1],
        full_snr_db=estimate.snr_db[-1],
        part_bytes=part,
        full_bytes=part + residual,
    )


def _estimate(trial: Trial) -> Estimate:
    if trial.estimate is None:
        raise UnsupportedModelError(
            f"nesting {AUTO!r}",
            expected="a model that runs on sample inputs",
            got=trial.stopped or "none",
            fix="Pass representative_data, or name a nesting such as '8|5'.",
        )
    return trial.estimate


def _snr_db(trial: Trial) -> float:
    return _estimate(trial).snr_db[0]


def _part_bytes(trial: Trial) -> int:
    return trial.level_bytes[0]


def _nearness(trial: Trial) -> tuple[float, int]:
    """By agreement, and by bytes where it is the same."""
    candidate = _candidate(trial)
    return candidate.snr_db if candidate.kept is None else candidate.kept, -candidate.part_bytes
