"""The governor's decisions: who gives bits back, pacing, and what holds for every sequence of readings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nq_tflite.errors import PolicyError
from nq_tflite.govern import Arbiter, ModelLevels, Policy, Rule

DETECTOR = ModelLevels("detector", (4, 6, 8), (400, 200, 200))
TAGGER = ModelLevels("tagger", (5, 8), (500, 300))
COLD = Rule("warmth", below=10, until=20)
COOL = Rule("warmth", below=30, until=40, precision=6)
POLICY = Policy("test", (COLD, COOL), dwell_seconds=10)


def levels_of(arbiter: Arbiter, now: float, warmth: float, levels: list[int]) -> list[int]:
    return [decision.level for decision in arbiter.decide(now, {"warmth": warmth}, levels)]


def test_the_lowest_cap_counts() -> None:
    arbiter = Arbiter(POLICY, [DETECTOR, TAGGER])
    assert levels_of(arbiter, 0, 50, [2, 1]) == [2, 1]
    assert levels_of(arbiter, 1, 25, [2, 1]) == [1, 0]
    assert arbiter.holding == (COOL,)
    assert levels_of(arbiter, 2, 5, [1, 0]) == [0, 0]
    assert arbiter.holding == (COLD, COOL)


def test_an_upgrade_waits_for_the_dwell_without_a_break() -> None:
    arbiter = Arbiter(POLICY, [TAGGER])
    assert levels_of(arbiter, 0, 5, [1]) == [0]
    assert levels_of(arbiter, 100, 50, [0]) == [0]
    assert arbiter.decide(105, {"warmth": 50}, [0])[0].reason == "waiting, 5 of 10 s of calm"
    assert levels_of(arbiter, 109, 5, [0]) == [0]  # a break
    assert levels_of(arbiter, 110, 50, [0]) == [0]
    assert levels_of(arbiter, 119, 50, [0]) == [0]
    assert levels_of(arbiter, 120, 50, [0]) == [1]


def test_the_last_model_gives_back_first_and_the_first_gets_back_first() -> None:
    arbiter = Arbiter(replace(POLICY, budget_bytes=1600, dwell_seconds=0), [DETECTOR, TAGGER])

    def under(budget: int, levels: list[int]) -> list[int]:
        arbiter.budget_bytes = budget
        return levels_of(arbiter, 0, 50, levels)

    assert under(1600, [2, 1]) == [2, 1]
    assert under(1599, [2, 1]) == [2, 0]
    assert under(1299, [2, 1]) == [1, 0]
    assert under(1000, [1, 0]) == [0, 0]
    assert under(1100, [0, 0]) == [1, 0]
    assert under(1300, [1, 0]) == [2, 0]


def test_a_budget_that_cannot_be_met_leaves_part_bit_running_and_says_so() -> None:
    arbiter = Arbiter(replace(POLICY, budget_bytes=800), [DETECTOR, TAGGER])
    decisions = arbiter.decide(0, {}, [2, 1])
    assert [decision.level for decision in decisions] == [0, 0]
    assert decisions[0].reason == "budget of 800 bytes, 100 fewer than all models need at part-bit"


def test_the_apps_own_ceiling() -> None:
    arbiter = Arbiter(POLICY, [DETECTOR, TAGGER])
    decisions = arbiter.decide(0, {}, [2, 1], [1])
    assert [(decision.level, decision.reason) for decision in decisions] == [
        (1, "the app's own cap"),
        (1, "no rule limits it"),
    ]


def test_a_failed_upgrade_waits_for_another_dwell() -> None:
    arbiter = Arbiter(POLICY, [TAGGER])
    assert levels_of(arbiter, 0, 50, [0]) == [0]
    assert levels_of(arbiter, 10, 50, [0]) == [1]
    arbiter.switch_failed(0)
    assert levels_of(arbiter, 11, 50, [0]) == [0]
    assert levels_of(arbiter, 20, 50, [0]) == [0]
    assert levels_of(arbiter, 21, 50, [0]) == [1]


def test_no_model_is_no_governor() -> None:
    with pytest.raises(PolicyError, match="at least one model"):
        Arbiter(POLICY, [])


@dataclass(frozen=True)
class Moment:
    """What happens at one step."""

    pause: float
    warmth: float
    budget: int | None


MOMENTS = st.lists(
    st.builds(
        Moment,
        pause=st.sampled_from([0.5, 1.0, 3.0, 9.5, 12.0]),
        warmth=st.floats(0, 50),
        budget=st.none() | st.integers(0, 2000),
    ),
    min_size=1,
    max_size=60,
)


@given(moments=MOMENTS, dwell=st.sampled_from([0.0, 2.0, 10.0]))
def test_whatever_happens(moments: list[Moment], dwell: float) -> None:
    """The budget holds after every step, levels exist, nothing swings faster than the dwell, and calm ends at full."""
    arbiter = Arbiter(replace(POLICY, dwell_seconds=dwell), [DETECTOR, TAGGER])
    levels, now = [2, 1], 0.0
    last_switch = [-1e9, -1e9]
    for moment in moments:
        now += moment.pause
        arbiter.budget_bytes = moment.budget
        after = levels_of(arbiter, now, moment.warmth, levels)
        for index, model in enumerate(arbiter.models):
            assert 0 <= after[index] < len(model.precisions)
            if after[index] > levels[index]:
                assert now - last_switch[index] >= dwell
            if after[index] != levels[index]:
                last_switch[index] = now
        held = sum(model.held_bytes(level) for model, level in zip(arbiter.models, after, strict=True))
        if moment.budget is not None:
            assert held <= moment.budget or after == [0, 0]
        if moment.warmth < COLD.until and COLD in arbiter.holding:
            assert after == [0, 0]
        levels = after
    arbiter.budget_bytes = None
    for _ in range(2):
        now += dwell + 1
        levels = levels_of(arbiter, now, 50, levels)
    assert levels == [2, 1]


@given(moments=MOMENTS)
def test_decisions_depend_on_the_readings_alone(moments: list[Moment]) -> None:
    def run() -> list[list[int]]:
        arbiter, levels, now, seen = Arbiter(POLICY, [DETECTOR, TAGGER]), [2, 1], 0.0, []
        for moment in moments:
            now += moment.pause
            levels = levels_of(arbiter, now, moment.warmth, levels)
            seen.append(levels)
        return seen

    assert run() == run()
