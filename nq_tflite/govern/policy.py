"""Policies as plain data: rules that cap the precision while a reading is out of bounds."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from nq_tflite.errors import PolicyError, did_you_mean, needing_extra, reason_of

#: Names of `PRESETS`.
Preset = Literal["memory", "battery", "thermal", "latency", "manual"]


def _is_number(value: Any) -> bool:
    """Finite, and no larger than a float can be."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max


@dataclass(frozen=True)
class Rule:
    """Caps the precision from the moment that a reading crosses one bound until it crosses another one back.

    The gap between the two bounds is the hysteresis. If the device does not have the reading, the rule does nothing.

    >>> Rule("battery", below=30, until=40)
    Rule(signal='battery', until=40, below=30, above=None, precision='part')

    Attributes:
        signal: a reading of `Sensors`, or any name that the app reports.
        until: bound at which the cap is lifted again.
        below, above: bound at which the cap is set; give one of the two.
        precision: the cap: "part", or a number of bits. A model without that precision gets its next lower one.

    Raises:
        PolicyError: not exactly one of below and above is given, the bounds are in the wrong order, or the precision
            is unknown.
    """

    signal: str
    until: float
    below: float | None = None
    above: float | None = None
    precision: Literal["part"] | int = "part"

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.below, self.above) if bound is not None]
        if len(bounds) != 1 or not all(_is_number(bound) for bound in (*bounds, self.until)):
            raise self._error("a number `until`, and one of `below` and `above`", f"{self.below}, {self.above}")
        if (self.until < bounds[0]) if self.below is not None else (self.until > bounds[0]):
            side = "at least `below`" if self.below is not None else "at most `above`"
            raise self._error(f"`until` {side} ({bounds[0]:g})", f"{self.until:g}")
        bits = self.precision
        if bits != "part" and (isinstance(bits, bool) or not isinstance(bits, int) or bits < 1):
            raise self._error("the precision 'part' or a number of bits", repr(bits))

    def holds(self, reading: float | None, held: bool) -> bool:
        """Whether the cap is set, given whether it was; NaN counts as no reading."""
        if reading is None or math.isnan(reading):
            return False
        if self.below is not None:
            return reading < self.until if held else reading < self.below
        return reading > self.until if held else self.above is not None and reading > self.above

    def level(self, precisions: tuple[int, ...]) -> int:
        """The cap as a level of a model with these precisions."""
        cap = self.precision
        return 0 if cap == "part" else max((level for level, bits in enumerate(precisions) if bits <= cap), default=0)

    def __str__(self) -> str:
        bound = f"below {self.below:g}" if self.below is not None else f"above {self.above:g}"
        return f"{self.signal} {bound}"

    def _error(self, expected: str, got: str) -> PolicyError:
        return PolicyError(f"rule on {self.signal!r}", expected=expected, got=got)


@dataclass(frozen=True)
class Policy:
    """When a governor switches. It downgrades at once, and upgrades once nothing has opposed it for `dwell_seconds`.

    >>> Policy.named("memory+battery").rules[-1]
    Rule(signal='battery', until=40, below=30, above=None, precision='part')

    Attributes:
        name: its name in logs.
        rules: each may cap the precision; the lowest cap counts.
        dwell_seconds: how long nothing must oppose an upgrade before it is made. A model is therefore not upgraded
            twice within this time, nor sooner than this after its last downgrade.
        interval_seconds: time between two readings of the sensors.
        budget_bytes: the bytes that the nested weights of all governed models may hold in memory; None for no limit.

    Raises:
        PolicyError: a time or a budget is negative, or not a number.
    """

    name: str = "manual"
    rules: tuple[Rule, ...] = ()
    dwell_seconds: float = 10.0
    interval_seconds: float = 1.0
    budget_bytes: int | None = None

    def __post_init__(self) -> None:
        numbers = {"dwell_seconds": self.dwell_seconds, "interval_seconds": self.interval_seconds}
        if self.budget_bytes is not None:
            numbers["budget_bytes"] = self.budget_bytes
        for name, value in numbers.items():
            if not _is_number(value) or value < 0 or (name == "interval_seconds" and value == 0):
                raise PolicyError(f"policy {self.name!r}, {name}", expected="a positive number", got=repr(value))

    @classmethod
    def named(cls, name: str) -> Policy:
        """A preset, or several joined by "+": the rules of all of them, the longest dwell.

        Raises:
            PolicyError: there is no such preset.
        """
        parts = [part.strip() for part in name.split("+")]
        if unknown := [part for part in parts if part not in PRESETS]:
            raise PolicyError(
                "policy",
                expected=f"{', '.join(PRESETS)}, several joined by +, or a .toml file",
                got=repr(unknown[0]),
                fix=did_you_mean(unknown[0], PRESETS),
            )
        chosen = [PRESETS[part] for part in parts]
        return cls(
            name="+".join(parts),
            rules=tuple(dict.fromkeys(rule for each in chosen for rule in each.rules)),
            dwell_seconds=max(each.dwell_seconds for each in chosen),
            interval_seconds=min(each.interval_seconds for each in chosen),
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Policy:
        """Reads a policy from TOML: the attributes of `Policy`, and a table [[rules]] for each rule.

        `preset = "memory+thermal"` starts from presets; whatever else the file says overrides or adds to them.

        Raises:
            PolicyError: the file is missing, is not TOML, or has something that no policy has.
        """
        where = os.fspath(path)
        try:
            data = _parse_toml(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise PolicyError(f"policy {where}", expected="a readable TOML file", got=reason_of(error)) from error
        rules = data.pop("rules", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            raise PolicyError(f"policy {where}", expected="rules as tables [[rules]]", got=repr(rules))
        base = cls.named(str(data.pop("preset"))) if "preset" in data else cls()
        own = tuple(_build(Rule, rule, f"policy {where}, rule {index + 1}") for index, rule in enumerate(rules))
        changes = {"name": Path(path).stem} | data
        _check_keys(cls, changes, f"policy {where}")
        return replace(base, rules=base.rules + own, **changes)

    @classmethod
    def of(cls, policy: Policy | Preset | str | os.PathLike[str]) -> Policy:
        """A policy from what users give: a Policy, the name of a preset, or the path of a .toml file.

        Raises:
            PolicyError: none of these.
        """
        if isinstance(policy, Policy):
            return policy
        if not isinstance(policy, str | os.PathLike):
            raise PolicyError("policy", expected="an nq.Policy, a name or a path", got=f"a {type(policy).__name__}")
        if isinstance(policy, str) and not policy.endswith(".toml"):
            return cls.named(policy)
        return cls.read(policy)


def latency_policy(target_seconds: float) -> Policy:
    """Part-bit while invocations take longer than a target, until they take less than 0.7 of it.

    The app reports "latency", or times its invocations with `Governor.timed`.

    Raises:
        PolicyError: the target is not a positive number.
    """
    if not _is_number(target_seconds) or target_seconds <= 0:
        raise PolicyError("latency target", expected="a positive number of seconds", got=repr(target_seconds))
    return Policy("latency", (Rule("latency", above=target_seconds, until=0.7 * target_seconds),))


#: Bounds are in the readings' units: percent, degrees Celsius, seconds.
PRESETS: Mapping[str, Policy] = {
    "memory": Policy(
        "memory",
        (
            Rule("memory_pressure", above=10, until=1),
            Rule("memory_available", below=10, until=20),
            Rule("memory_throttled", above=0, until=0),
        ),
    ),
    "battery": Policy("battery", (Rule("battery", below=30, until=40),), dwell_seconds=60.0, interval_seconds=10.0),
    # A Raspberry Pi slows down from 80 degrees on, phones earlier.
    "thermal": Policy("thermal", (Rule("temperature", above=75, until=65),), dwell_seconds=30.0),
    "latency": latency_policy(1 / 30),
    "manual": Policy("manual"),
}


def _parse_toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib.loads(text)
    with needing_extra("govern", "policy files"):
        import tomli
    return dict(tomli.loads(text))


def _build(kind: type[Rule], values: Mapping[str, Any], where: str) -> Rule:
    _check_keys(kind, values, where)
    try:
        return kind(**values)
    except TypeError as error:
        raise PolicyError(where, expected="signal, until, and below or above", got=", ".join(values)) from error


def _check_keys(kind: type[Any], values: Mapping[str, Any], where: str) -> None:
    known = [each.name for each in fields(kind)]
    if unknown := [name for name in values if name not in known]:
        raise PolicyError(where, expected=f"only {', '.join(known)}", got=unknown[0])
