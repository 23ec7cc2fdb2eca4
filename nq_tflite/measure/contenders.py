"""What `compare` compares: rounding methods and baselines, with the net that each makes of a model at every level."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nq_tflite.conversion.draft import Draft, draft_weight
from nq_tflite.conversion.equalize import equalize
from nq_tflite.conversion.layer_bits import own_nestings
from nq_tflite.conversion.nested_writer import write_nested
from nq_tflite.conversion.observer import Constant, Constants
from nq_tflite.conversion.plan import Plan
from nq_tflite.conversion.rounding import EXACT, METHODS, Method
from nq_tflite.conversion.rounding.baselines import MINMAX, PUBLISHED_CODE, SQUANT_NESTING, Baseline
from nq_tflite.conversion.sources.source import Source
from nq_tflite.conversion.trial import round_source
from nq_tflite.errors import NestingError, UnsupportedModelError, did_you_mean
from nq_tflite.format.nesting import LayerBits, Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.float_layers import compute_in_float
from nq_tflite.graph.model import InputSlot, ModelT
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.replace_weights import replace_weights
from nq_tflite.graph.sites import Site, as_weight, find_sites
from nq_tflite.progress import Progress, silent

#: Constants to give operators of the main subgraph, by (operator, input slot).
Replacements = Constants


#: Names of `CONTENDERS`.
ContenderName = Literal[
    "minmax", "nestquant-code", "squant-nesting", "nearest", "exact", "squant", "descent", "descent-calibrated"
]


@dataclass(frozen=True)
class Contender:
    """A way to several precisions.

    Attributes:
        name: by which users choose it.
        title: as tables show it.
        method: of our own files, by name, or a baseline.
        calibrated: whether it looks at representative data.
    """

    name: ContenderName
    title: str
    method: Method | Baseline
    calibrated: bool = False


CONTENDERS: dict[ContenderName, Contender] = {
    contender.name: contender
    for contender in (
        Contender("minmax", "min-max, separate files", MINMAX),
        Contender("nestquant-code", "NestQuant's code", PUBLISHED_CODE),
        Contender("squant-nesting", "SQuant nesting, symmetric", SQUANT_NESTING),
        Contender("nearest", "nearest", METHODS["nearest"]),
        Contender("exact", "exact", EXACT),
        Contender("squant", "squant", METHODS["squant"]),
        Contender("descent", "descent, no data", METHODS["descent"]),
        Contender("descent-calibrated", "descent, calibrated", METHODS["descent"], calibrated=True),
    )
}


def contenders(names: Sequence[ContenderName]) -> list[Contender]:
    """Those of these names; all of them for none.

    Raises:
        NestingError: there is none of a name.
    """
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown:
        raise NestingError(
            "method",
            expected=f"one of {', '.join(CONTENDERS)}",
            got=repr(unknown[0]),
            fix=did_you_mean(unknown[0], CONTENDERS),
        )
    return [CONTENDERS[name] for name in dict.fromkeys(names or CONTENDERS)]


class Rounded(ABC):
    """A model's weights as a contender rounded them.

    Attributes:
        seconds: that it took, walking the net included.
        bits_a_weight: of all levels together; ours with padding and biases, baselines by their own arithmetic.
        note: what kept the method from what it wanted; None usually.
    """

    seconds: float
    bits_a_weight: float
    note: str | None = None

    @abstractmethod
    def replacements(self, level: int) -> Replacements:
        """A float graph's weights and biases at a level."""

    @abstractmethod
    def write(self, level: int, folder: Path) -> tuple[Path, int | None]:
        """A full-int8 graph as a file that has the level, and the precision to ask it for; None: it has no other."""


def round_with(
    contender: Contender,
    source: Source,
    nesting: Nesting,
    notify: Progress = silent,
    layer_bits: LayerBits = "same",
) -> Rounded:
    """Rounds all weights of a model that can nest, ours as `convert` does.

    Args:
        contender: how.
        source: the model, with the samples that the method may look at; what is calibrated equalizes its chains.
        nesting: levels for every weight.
        notify: called with a stage's name, the steps done and the steps in all.
        layer_bits: of what is calibrated, as `convert` has it.

    Raises:
        UnsupportedModelError, WeightsError: as plan.make_plan.
    """
    if isinstance(contender.method, Baseline):
        return _Apart(contender.method, source, nesting)
    if contender.calibrated:
        source, _ = equalize(source, nesting, contender.method, notify=notify)
    return _Nested(contender.method, source, nesting, notify, layer_bits if contender.calibrated else "same")


class _Nested(Rounded):
    """Levels of one nested file."""

    def __init__(
        self, method: Method, source: Source, nesting: Nesting, notify: Progress, layer_bits: LayerBits
    ) -> None:
        begin = time.perf_counter()
        seen = source if method.needs_means else replace(source, samples=None, without=None)
        self._model, self._nesting, self._widened = source.model, nesting, source.widened
        own = own_nestings(seen, nesting, notify=notify) if layer_bits == "own" else None
        rounded = round_source(seen, nesting, method, own=own, notify=notify)
        self._plan = rounded.plan
        self.seconds = time.perf_counter() - begin
        self.bits_a_weight = _bits_a_weight(self._plan)
        self.note = seen.without or (rounded.lockstep.stopped if rounded.lockstep else None)

    def replacements(self, level: int) -> Replacements:
        found: Replacements = {}
        for plan in self._plan.weights:
            for site in plan.sites:
                if site.subgraph == 0:
                    found |= plan.constants(self._model, site, level)
        return found

    def write(self, level: int, folder: Path) -> tuple[Path, int | None]:
        path = folder / "nested.tflite"
        if not path.exists():
            write_nested(copy.deepcopy(self._model), self._plan, self._nesting, path, copy.deepcopy(self._widened))
        return path, self._nesting.precisions[level]


class _Apart(Rounded):
    """Levels of a baseline, each a stock model, in which layers of asymmetric weights compute in float."""

    def __init__(self, baseline: Baseline, source: Source, nesting: Nesting) -> None:
        begin = time.perf_counter()
        self._model = source.model
        self._weights = [
            (draft, baseline.levels(draft.target * draft.scales[:, None].astype(float), draft.taps, nesting))
            for draft in _drafts(source, nesting)
        ]
        self.seconds = time.perf_counter() - begin
        self.bits_a_weight = float(baseline.bits_a_weight(nesting))

    def replacements(self, level: int) -> Replacements:
        return {
            InputSlot(position, slot): Constant(as_weight(levels[level].values, draft.layout, draft.shape))
            for draft, levels in self._weights
            for position, slot in _readers(self._model, draft.sites)
        }

    def write(self, level: int, folder: Path) -> tuple[Path, int | None]:
        path, model = folder / f"level_{level}.tflite", copy.deepcopy(self._model)
        in_float = []
        for draft, levels in self._weights:
            chosen = levels[level]
            if chosen.zero_points is None:
                replace_weights(model, draft.sites, chosen.codes, chosen.scales)
            else:
                in_float.append((draft.sites, chosen.values))
        compute_in_float(model, in_float)
        fb.write_model(path, model)
        return path, None


def _drafts(source: Source, nesting: Nesting) -> list[Draft]:
    """The weights that a nested file of that nesting would hold.

    Raises:
        UnsupportedModelError: none.
    """
    floats = source.reference.sources(source.model)
    drafts = [draft_weight(source.model, group, nesting, floats) for group in find_sites(source.model)[0]]
    nested = [draft for draft in drafts if isinstance(draft, Draft)]
    if not nested:
        raise UnsupportedModelError("weights to nest", expected="at least one", got="none")
    return nested


def _readers(model: ModelT, sites: tuple[Site, ...]) -> list[InputSlot]:
    """Where the main subgraph reads a weight."""
    operators, found = model.subgraphs[0].operators, []
    for site in sites:
        for position in site.operators if site.subgraph == 0 else ():
            operator = operators[position]
            found.append(InputSlot(position, slots_of(model, operator).slot_of(operator, site.tensor)))
    return found


def _bits_a_weight(plan: Plan) -> float:
    blocks = [weight.option_block() for weight in plan.weights]
    size = sum(block.level_bytes(level) for block in blocks for level in range(len(block.levels)))
    return 8 * size / sum(weight.codes.size for weight in plan.weights)
