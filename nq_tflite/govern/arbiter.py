"""The governor's decisions, apart from any clock, sensor or interpreter: what a policy wants of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from nq_tflite.errors import PolicyError
from nq_tflite.govern.policy import Policy, Rule


@dataclass(frozen=True)
class ModelLevels:
    """What a decision needs to know of a model.

    >>> ModelLevels("detector", (4, 6, 8), (400, 200, 200)).held_bytes(1)
    600

    Attributes:
        name: what logs call it.
        precisions: bits that levels 0 to k give, for each k.
        level_bytes: bytes of each level.
    """

    name: str
    precisions: tuple[int, ...]
    level_bytes: tuple[int, ...]

    def held_bytes(self, level: int) -> int:
        """Bytes of the levels in use."""
        return tuple(accumulate(self.level_bytes))[level]


@dataclass(frozen=True)
class Decision:
    """The level that a model should be switched to now, which may be the one it has, and why."""

    level: int
    reason: str


class Arbiter:
    """Decides the levels of models that share a policy and its budget.

    The cap of a model is the lowest of the rules that hold. If the models' bytes then exceed the budget, the last
    model is downgraded level by level, then the one before it, and so on. So models are named in order of importance,
    and the first one is upgraded first. A model never goes below part-bit: a budget smaller than all base levels
    together cannot be met, and the reason says so.

    A downgrade is decided at once. An upgrade is decided once nothing has opposed it for the policy's dwell, counted
    from the model's last switch at the earliest.

    >>> from nq_tflite.govern.policy import Policy
    >>> arbiter = Arbiter(Policy.named("battery"), [ModelLevels("net", (5, 8), (500, 300))])
    >>> arbiter.decide(0.0, {"battery": 25.0}, [1])
    [Decision(level=0, reason='battery below 30')]
    """

    def __init__(self, policy: Policy, models: Sequence[ModelLevels]) -> None:
        if not models:
            raise PolicyError("governor", expected="at least one model", got="none")
        self.policy = policy
        self.models = tuple(models)
        self.budget_bytes = policy.budget_bytes
        self._holding: dict[Rule, bool] = dict.fromkeys(policy.rules, False)
        self._wanted_since: list[float | None] = [None] * len(models)

    @property
    def holding(self) -> tuple[Rule, ...]:
        """Rules whose caps are set."""
        return tuple(rule for rule, held in self._holding.items() if held)

    def decide(
        self, now: float, readings: Mapping[str, float], levels: Sequence[int], ceilings: Sequence[int | None] = ()
    ) -> list[Decision]:
        """Levels to switch to at this moment.

        Args:
            now: seconds on any clock that never goes back.
            readings: by signal.
            levels: what each model has.
            ceilings: the app's own caps; None, and models beyond the end, have none.
        """
        for rule, held in self._holding.items():
            self._holding[rule] = rule.holds(readings.get(rule.signal), held)
        wanted = self._within_budget(
            [self._cap(model, ceiling) for model, ceiling in zip(self.models, _padded(ceilings, levels), strict=True)]
        )
        return [self._paced(index, now, level, wanted[index]) for index, level in enumerate(levels)]

    def switch_failed(self, index: int) -> None:
        """A decided upgrade could not be made: it is not wanted again before another dwell has passed."""
        self._wanted_since[index] = None

    def _cap(self, model: ModelLevels, ceiling: int | None) -> Decision:
        cap = Decision(len(model.precisions) - 1, "no rule limits it")
        if ceiling is not None and ceiling < cap.level:
            cap = Decision(ceiling, "the app's own cap")
        for rule in self.holding:
            level = rule.level(model.precisions)
            if level < cap.level:
                cap = Decision(level, str(rule))
        return cap

    def _within_budget(self, caps: list[Decision]) -> list[Decision]:
        budget = self.budget_bytes
        if budget is None:
            return caps
        wanted = list(caps)
        excess = sum(model.held_bytes(cap.level) for model, cap in zip(self.models, caps, strict=True)) - budget
        for index in reversed(range(len(wanted))):
            while excess > 0 and wanted[index].level > 0:
                level = wanted[index].level
                excess -= self.models[index].level_bytes[level]
                wanted[index] = Decision(level - 1, f"budget of {budget} bytes")
        if excess > 0:
            reason = f"budget of {budget} bytes, {excess} fewer than all models need at part-bit"
            wanted = [Decision(each.level, reason) for each in wanted]
        return wanted

    def _paced(self, index: int, now: float, level: int, wanted: Decision) -> Decision:
        since = self._wanted_since[index]
        if wanted.level <= level:
            self._wanted_since[index] = None
            return wanted
        if since is None:
            since = self._wanted_since[index] = now
        calm = now - since
        if calm < self.policy.dwell_seconds:
            return Decision(level, f"waiting, {calm:.0f} of {self.policy.dwell_seconds:g} s of calm")
        self._wanted_since[index] = None
        return wanted


def _padded(ceilings: Sequence[int | None], levels: Sequence[int]) -> list[int | None]:
    return [*ceilings, *[None] * (len(levels) - len(ceilings))]
