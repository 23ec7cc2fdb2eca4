"""Decides for every weight, before the graph is changed, whether it nests, how, and why if not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nq_tflite.conversion.draft import Draft, draft_weight
from nq_tflite.conversion.observer import Observer
from nq_tflite.conversion.rounding import FALLBACK, METHODS, Method, RoundingTask
from nq_tflite.conversion.rounding.caution import cautious
from nq_tflite.conversion.rounding.group_ratios import fitted_group_ratios
from nq_tflite.conversion.rounding.scales import fitted_ratios
from nq_tflite.conversion.rounding.statistics import InputStatistics
from nq_tflite.conversion.weight_plan import WeightPlan
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.biases import LevelBiases, fit_biases
from nq_tflite.format.constants import OutputType
from nq_tflite.format.groups import channel_scales
from nq_tflite.format.levels import Codes, value_at
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.flatbuffer import Array
from nq_tflite.graph.model import ModelT, TensorPlace
from nq_tflite.graph.readers import READER_NAMES
from nq_tflite.graph.refusals import TOO_SMALL
from nq_tflite.graph.selection import Selection
from nq_tflite.graph.sites import OTHER_TYPE, Site, Unnested, find_sites, unnested
from nq_tflite.graph.widening import Widened

#: Weights of deeper filters are rounded without covariances, whose matrices would take minutes and gigabytes each.
MOST_DEPTH = 5120
_EXCLUDED = "excluded by name"


@dataclass(frozen=True)
class Plan:
    """Every weight's fate."""

    weights: tuple[WeightPlan, ...]
    unnested: tuple[Unnested, ...]


def make_plan(
    model: ModelT,
    nesting: Nesting,
    method: Method,
    observer: Observer | None = None,
    *,
    own: Mapping[TensorPlace, Nesting] | None = None,
    sources: Mapping[TensorPlace, Array] | None = None,
    selection: Selection | None = None,
    widened: Widened | None = None,
    careful: bool = False,
    group_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """Finds the weights of a TFLite model that can nest and rounds them; the model is left as it is.

    Args:
        model: full-int8 or float.
        nesting: levels of the whole model.
        method: how to choose the codes.
        observer: the source of statistics, for methods that use some; weights without any, and those of
            filters deeper than MOST_DEPTH, fall back to SQuant.
        own: nestings of single weights, with as many levels.
        sources: the float weights that INT8 ones were rounded from, where known; exact methods ignore them.
        selection: the user's word on single weights.
        widened: the model's float weights that the source has in another type.
        careful: whether full-bit is measured beside plain rounding in every layer, as `rounding.caution` does.
        group_size: as `draft_weight`.
        progress: called with (weights done, weights in all).

    Raises:
        UnsupportedModelError: no weight can nest, or one that does cannot have groups of that size.
        SelectionError: a pattern fits no weight.
        WeightsError: NaN or infinite weights or scales.
    """
    stored_bytes = None if widened is None else widened.stored_bytes
    groups, left = find_sites(model, stored_bytes)
    selected = selection or Selection()
    selected.check([*(group[0].name for group in groups), *(each.name for each in left)])
    floats = {} if method.exact else sources or {}

    def draft_of(group: list[Site], levels: Nesting) -> Draft | str:
        name = group[0].name
        if selected.excludes(name):
            return _EXCLUDED
        forced = selected.includes(name)
        return draft_weight(model, group, levels, floats, widened=widened, forced=forced, group_size=group_size)

    weights = []
    for done, group in enumerate(groups):
        levels = (own or {}).get(group[0].place, nesting)
        draft = draft_of(group, levels)
        if isinstance(draft, Draft):
            weights.append(_round(model, draft, levels, method, observer, careful=careful))
        else:
            left.append(unnested(model, group[0], draft, stored_bytes))
        if progress:
            progress(done + 1, len(groups))
    if not weights:
        raise _nothing_nests(left)
    return Plan(tuple(weights), tuple(left))


def _nothing_nests(left: Sequence[Unnested]) -> UnsupportedModelError:
    """Says why, and what helps against the reason that is easiest to overcome."""
    reasons = sorted({f"{each.operator}: {each.reason}" for each in left})
    too_small = any(each.reason.startswith(TOO_SMALL) for each in left)
    fix = "Convert a float or full-int8 model: for a Keras model, its float original, with representative_data."
    if any(each.reason == _EXCLUDED for each in left):
        fix = "Exclude fewer weights."
    elif too_small and not any(OTHER_TYPE in each.reason for each in left):
        fix = "Ship the model as it is: nesting saves nothing here. include='*' nests such weights anyway."
    elif not left:
        reasons, fix = [f"no {READER_NAMES} with a constant weight"], ""
    return UnsupportedModelError(
        "weights to nest",
        expected="a full-int8 or float model with weights that take fewer bytes when nested",
        got="none; " + "; ".join(reasons),
        fix=fix,
    )


def _round(
    model: ModelT, draft: Draft, nesting: Nesting, method: Method, observer: Observer | None, *, careful: bool
) -> WeightPlan:
    serves_levels = method.needs_covariances and draft.free and not careful
    method, statistics = _look(draft, method, observer)
    corrected = bool(statistics) and draft.own_bias is not None
    task = RoundingTask(draft.target, draft.taps, nesting, statistics, draft.scales, corrected)
    if draft.in_groups and serves_levels:
        draft = draft.rescaled(fitted_group_ratios(task))
        task = replace(task, target=draft.target, scales=draft.scales)
    elif corrected and method.needs_covariances and serves_levels:
        draft = draft.rescaled(fitted_ratios(task))
        task = task.rescaled(draft.target, draft.scales)
    if careful and not draft.looked_up and not draft.in_groups:
        rehearsal = None if observer is None or not statistics else observer.rehearse(draft.sites[0])
        name, codes = cautious(task, method.name, method.round, rehearsal)
    else:
        name, codes = method.name, method.round(task)
    plan = WeightPlan(
        sites=draft.sites,
        operator=draft.operator,
        shape=draft.shape,
        layout=draft.layout,
        output_type=draft.output_type,
        nesting=nesting,
        rounding=name,
        codes=codes,
        scales=draft.scales,
        target=draft.target,
        biases=draft.biases,
        level_biases=_correct_biases(draft, codes, nesting, statistics, exact=method.exact),
    )
    if observer is not None:
        for site in plan.sites:
            observer.settle(site, [plan.constants(model, site, level) for level in range(len(nesting.precisions))])
    return plan


def _look(draft: Draft, method: Method, observer: Observer | None) -> tuple[Method, tuple[InputStatistics, ...]]:
    """The statistics of a weight's inputs, and the method that can do with them: its own, or one that stands in."""
    if draft.looked_up:  # every row is an output by itself
        return METHODS["nearest"], ()
    if method.needs_covariances and draft.target.shape[1] > MOST_DEPTH:
        method = FALLBACK
    statistics: tuple[InputStatistics, ...] = ()
    site = draft.multiplied_site
    if observer is not None and method.needs_means and site is not None:
        has_bias = draft.own_bias is not None or not (draft.in_groups or len(draft.sites) > 1)
        statistics = observer.observe(site, covariances=method.needs_covariances, with_means=not has_bias)
    if draft.in_groups and not (method.needs_covariances and statistics):
        return METHODS["nearest"], ()
    return (FALLBACK if method.needs_covariances and not statistics else method), statistics


def _correct_biases(
    draft: Draft, codes: Codes, nesting: Nesting, statistics: tuple[InputStatistics, ...], *, exact: bool
) -> LevelBiases | None:
    """Biases that take the mean error of each level's outputs away: of the weights, and of the inputs' drift.

        b + (w - v) E[x] - v (E[y] - E[x])

    with w the source's weights, v a level's, x the inputs of the float net and y of the level's. An exact method's
    full-bit keeps b, and its levels below do not follow the drift: plain codes err so much that it makes them worse.
    """
    bias = draft.own_bias
    if bias is None or not statistics:
        return None
    wanted = np.stack([bias.values] * len(statistics))
    for level, each in enumerate(statistics[:-1] if exact else statistics):
        values = value_at(codes, nesting, level).astype(np.float64)
        shift = each.dot(draft.target - values, each.mean)
        if not exact:
            shift -= each.dot(values, each.drift)
        wanted[level] += shift * bias.unit
    return fit_biases(
        wanted, channel_scales(draft.scales), np.float32 if draft.output_type is OutputType.FLOAT32 else np.int32
    )
