"""A trial of a nesting: every weight of a loaded source is rounded for it, and the outputs are compared."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from threadpoolctl import threadpool_limits

from nq_tflite.conversion.lockstep import Lockstep
from nq_tflite.conversion.plan import Plan, make_plan
from nq_tflite.conversion.report import Estimate
from nq_tflite.conversion.rounding import EXACT, METHODS, Method
from nq_tflite.conversion.sources.source import Samples, Source
from nq_tflite.conversion.walk import GraphWalk
from nq_tflite.device.runtimes import walking_runtime
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, TensorPlace
from nq_tflite.graph.provenance import is_quantized_after_training
from nq_tflite.progress import Progress

#: Full-bit's outputs may be so much further from the source's than plain rounding's: half of what a model may lose.
MOST_LOSS_DB = 0.5
#: With fewer samples none can be spared to measure that; where none is held out, every so many is for that once.
_FEWEST, _EVERY = 8, 4
_blas_lock = threading.Lock()
_blas_users = 0
_blas_limits: threadpool_limits | None = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """A context to round in: BLAS' sums, and so the codes that are chosen, depend on how many threads share them.

    The limit holds for the process. Where threads convert at once, the first one sets it and the last one lifts it.
    """
    global _blas_users, _blas_limits
    with _blas_lock:
        if not _blas_users:
            _blas_limits = threadpool_limits(1, user_api="blas")
        _blas_users += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            if _blas_limits is not None and not _blas_users:
                _blas_limits.restore_original_limits()


@dataclass(frozen=True)
class Road:
    """How the weights of a model are rounded.

    Attributes:
        method: of choosing codes.
        careful: as `plan.make_plan`.
    """

    method: Method
    careful: bool = False


@dataclass(frozen=True)
class Rounded:
    """A source rounded, and the walk that observed it; None without samples."""

    road: Road
    plan: Plan
    lockstep: Lockstep | None


@dataclass(frozen=True)
class Trial:
    """What a nesting makes of a source, which stays as it is.

    Attributes:
        nesting: levels of the whole model.
        own: nestings of single weights, as `plan.make_plan`.
        plan: what becomes of every weight.
        road: how they were rounded.
        estimate: of the accuracy; None if no inputs could be had or run.
        stopped: why there are no samples, statistics or estimate, or not to the last operator; None if there are.
    """

    nesting: Nesting
    own: Mapping[TensorPlace, Nesting]
    plan: Plan
    road: Road
    estimate: Estimate | None
    stopped: str | None

    @property
    def level_bytes(self) -> tuple[int, ...]:
        """Bytes of each level of all weights, as `report.WeightRow` gives them for one."""
        blocks = [weight.option_block() for weight in self.plan.weights]
        return tuple(sum(block.level_bytes(k) for block in blocks) for k in range(len(self.nesting.precisions)))


def try_nesting(
    source: Source,
    nesting: Nesting,
    method: Method,
    *,
    own: Mapping[TensorPlace, Nesting] | None = None,
    notify: Progress,
) -> Trial:
    """Rounds a source and runs the result.

    Args:
        source, nesting, method, own: as `plan.make_plan`, whose errors it raises.
        notify: called with a stage's name, the steps done and the steps in all.
    """
    notify("rounding", 0, 0)
    rounded = round_source(source, nesting, method, own=own, notify=notify)
    lockstep = rounded.lockstep
    estimate, stopped = None, source.without
    if lockstep is not None and source.samples is not None:
        notify("estimating", 0, 0)
        estimate = _estimate(lockstep, source.samples, nesting)
        stopped = lockstep.stopped
    return Trial(nesting, own or {}, rounded.plan, rounded.road, estimate, stopped)


def round_source(
    source: Source,
    nesting: Nesting,
    method: Method,
    *,
    own: Mapping[TensorPlace, Nesting] | None = None,
    notify: Progress,
) -> Rounded:
    """Rounds a source as `convert` does: where the method would cost full-bit too much, with more care.

    Args:
        source, nesting, method, own, notify: as `try_nesting`.
    """
    rounds = _Rounding(nesting, method, own or {}, notify)
    return rounds.guarded(source) if method.needs_covariances else rounds.run(source, Road(method))


@dataclass(frozen=True)
class _Rounding:
    """How to round a source; attributes as arguments of `try_nesting`."""

    nesting: Nesting
    method: Method
    own: Mapping[TensorPlace, Nesting]
    notify: Progress

    def run(self, source: Source, road: Road) -> Rounded:
        """All weights, in one walk."""
        lockstep = start_lockstep(source, self.nesting)
        return Rounded(road, self._plan(source, road, lockstep), lockstep)

    def guarded(self, source: Source) -> Rounded:
        """The same with full-bit hardly further from the source than plain rounding, or layer by layer with care.

        That is measured on samples held out; noise would tell nothing. The codes of an INT8 file are plain rounding
        themselves. If they may be what training left, all that moves them takes from the accuracy that they were
        trained for, by more than a method can make up for: they stay.
        """
        bold, careful = Road(self.method), Road(self.method, careful=True)
        if _has_own_codes(source):
            trained = not is_quantized_after_training(source.model)
            return self.run(source, Road(EXACT) if trained else careful)
        samples = source.samples
        if source.group_size is not None:
            return self.run(source, bold)  # each group's scale keeps full-bit near: there is no ladder to step down
        if samples is None or samples.noise or len(samples.arrays) < _FEWEST or source.widened.scales:
            return self.run(source, careful)
        tried = source
        if not samples.held_out:
            tried = replace(source, samples=samples.hold_out(range(_EVERY - 1, len(samples.arrays), _EVERY)))
        rounded = self.run(tried, bold)
        if not self._holds(tried, rounded.lockstep):
            return self.run(source, careful)
        return rounded if tried is source else self.run(source, bold)

    def _plan(self, source: Source, road: Road, lockstep: Lockstep | None) -> Plan:
        return make_plan(
            source.model,
            self.nesting,
            road.method,
            lockstep,
            own=self.own,
            sources=None if source.samples is None else source.reference.sources(source.model),
            selection=source.selection,
            widened=source.widened,
            careful=road.careful,
            group_size=source.group_size,
            progress=lambda done, total: self.notify("rounding", done, total),
        )

    def _holds(self, source: Source, lockstep: Lockstep | None) -> bool:
        """Whether full-bit's outputs are near enough on the samples held out."""
        outcomes = () if lockstep is None else lockstep.outcomes()
        if not outcomes or source.samples is None:
            return False
        judged = replace(source.samples, arrays=source.samples.arrays[-source.samples.held_out :], held_out=0)
        plain = start_walk(source.model, judged)
        last = len(self.nesting.precisions) - 1
        for weight in self._plan(source, Road(METHODS["nearest"]), None).weights:
            for site in weight.sites:
                if site.subgraph == 0:
                    plain.replace(weight.constants(source.model, site, last))
        original = start_walk(source.reference.model, judged)
        [nearest] = Lockstep(source.model, source.reference, original, [plain]).outcomes()
        return outcomes[-1].snr_db >= nearest.snr_db - MOST_LOSS_DB


def _has_own_codes(source: Source) -> bool:
    """Whether weights are codes already, and no float net is known that they were rounded from."""
    tensors = (fb.tensor_at(source.model, place) for place in source.reference.weights)
    return source.reference.model is source.model and any(each.type == schema.TensorType.INT8 for each in tensors)


def start_lockstep(source: Source, nesting: Nesting) -> Lockstep | None:
    """The walk that rounding asks for statistics; None without samples."""
    if source.samples is None:
        return None
    return Lockstep(
        model=source.model,
        reference=source.reference,
        original=start_walk(source.reference.model, source.samples),
        levels=[start_walk(source.model, source.samples) for _ in nesting.precisions],
        held_out=source.samples.held_out,
        made_up=source.samples.noise,
    )


def start_walk(model: ModelT, samples: Samples) -> GraphWalk:
    """A walk over a net on all samples, with all threads of this machine."""
    return GraphWalk(model, samples.arrays, walking_runtime(), os.cpu_count() or 1, samples.store)


def _estimate(lockstep: Lockstep, samples: Samples, nesting: Nesting) -> Estimate | None:
    outcomes = lockstep.outcomes()
    if not outcomes:
        return None
    return Estimate(
        inputs=samples.description,
        num_inputs=samples.held_out or len(samples.arrays),
        held_out=samples.held_out > 0,
        precisions=nesting.precisions,
        agreement=_known([each.agreement for each in outcomes]),
        expected_agreement=_known([each.expected_agreement for each in outcomes]),
        snr_db=tuple(each.snr_db for each in outcomes),
    )


def _known(rates: Sequence[float | None]) -> tuple[float, ...] | None:
    known = tuple(rate for rate in rates if rate is not None)
    return known if len(known) == len(rates) else None
