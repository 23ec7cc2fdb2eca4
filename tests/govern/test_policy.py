"""Policies: presets, TOML, hysteresis of one rule, and every mistake that a policy can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nq_tflite.errors import PolicyError
from nq_tflite.govern import PRESETS, SENSORS, Policy, Rule
from nq_tflite.govern.policy import latency_policy


def test_presets_name_readings_that_exist() -> None:
    known = {*SENSORS, "latency"}
    assert all(rule.signal in known for policy in PRESETS.values() for rule in policy.rules)
    assert Policy.of("battery") is not None
    assert Policy.of(PRESETS["thermal"]) is PRESETS["thermal"]


def test_presets_combine() -> None:
    policy = Policy.named("memory + battery")
    assert policy.rules == PRESETS["memory"].rules + PRESETS["battery"].rules
    assert policy.dwell_seconds == PRESETS["battery"].dwell_seconds
    assert policy.interval_seconds == PRESETS["memory"].interval_seconds
    assert Policy.named("memory+memory").rules == PRESETS["memory"].rules


@pytest.mark.parametrize(
    ("rule", "readings", "held"),
    [
        (Rule("x", below=30, until=40), [31, 29, 35, 39.9, 40, 35, 29], [0, 1, 1, 1, 0, 0, 1]),
        (Rule("x", above=75, until=65), [75, 76, 70, 65.1, 65, 70, 90], [0, 1, 1, 1, 0, 0, 1]),
        (Rule("x", above=0, until=0), [0, 1, 0, 2], [0, 1, 0, 1]),
        (Rule("x", below=30, until=40), [20, None, 35, float("nan"), 20], [1, 0, 0, 0, 1]),
    ],
)
def test_a_rule_holds_until_its_second_bound(rule: Rule, readings: list[Any], held: list[int]) -> None:
    state, seen = False, []
    for reading in readings:
        state = rule.holds(reading, state)
        seen.append(int(state))
    assert seen == held


@pytest.mark.parametrize(
    ("precision", "precisions", "level"),
    [
        ("part", (4, 6, 8), 0),
        (6, (4, 6, 8), 1),
        (7, (4, 6, 8), 1),
        (8, (4, 6, 8), 2),
        (3, (4, 6, 8), 0),
        (5, (5, 8), 0),
    ],
)
def test_a_cap_in_a_model_that_lacks_it_is_the_next_lower_one(
    precision: Any, precisions: tuple[int, ...], level: int
) -> None:
    assert Rule("x", below=1, until=2, precision=precision).level(precisions) == level


def test_toml_round(tmp_path: Path) -> None:
    path = tmp_path / "camera.toml"
    path.write_text(
        'preset = "thermal"\ndwell_seconds = 5\nbudget_bytes = 3_000_000\n'
        '[[rules]]\nsignal = "frames_waiting"\nabove = 3\nuntil = 0\nprecision = 6\n'
    )
    assert Policy.of(path) == Policy.of(str(path))
    assert Policy.of(path) == Policy(
        "camera",
        (*PRESETS["thermal"].rules, Rule("frames_waiting", above=3, until=0, precision=6)),
        dwell_seconds=5,
        budget_bytes=3_000_000,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dwell_seconds = ", "TOML"),
        ("dwell = 3", "only name, rules"),
        ("dwell_seconds = -1", "a positive number"),
        ('dwell_seconds = "3"', "a positive number"),
        ("interval_seconds = 0", "a positive number"),
        ("rules = 3", r"tables \[\[rules\]\]"),
        ('preset = "memorie"', "memory, battery"),
        ('[[rules]]\nsignal = "battery"\nbelow = 3', "rule 1: expected signal, until"),
        ('[[rules]]\nsignal = "battery"\nuntil = 3', "one of `below` and `above`"),
        ('[[rules]]\nsignal = "battery"\nbelow = 3\nabove = 3\nuntil = 3', "one of `below` and `above`"),
        ('[[rules]]\nsignal = "battery"\nbelow = 3\nuntil = 2', "at least `below`"),
        ('[[rules]]\nsignal = "heat"\nabove = 3\nuntil = 4', "at most `above`"),
        ('[[rules]]\nsignal = "heat"\nabove = nan\nuntil = 4', "a number"),
        ('[[rules]]\nsignal = "heat"\nabove = 3\nuntil = 2\nprecision = "full"', "precision"),
        ('[[rules]]\nsignal = "heat"\nabove = 3\nuntil = 2\nbits = 6', "only signal, until"),
    ],
)
def test_mistakes_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyError, match=message):
        Policy.read(path)


def test_a_missing_file_and_an_unknown_preset(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="readable TOML"):
        Policy.of(str(tmp_path / "none.toml"))
    with pytest.raises(PolicyError, match="got 'heat'"):
        Policy.of("memory+heat")


def test_the_latency_policy_wants_a_target() -> None:
    assert latency_policy(0.1).rules == (Rule("latency", above=0.1, until=0.7 * 0.1),)
    for target in (0, -1, float("nan")):
        with pytest.raises(PolicyError, match="positive number of seconds"):
            latency_policy(target)
