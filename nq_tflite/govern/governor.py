"""`nq.Governor`: reads the device's sensors at intervals, and switches models by a policy."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Protocol

from nq_tflite.device.switching import Switch
from nq_tflite.errors import NqError, PolicyError, PrecisionError
from nq_tflite.format.nesting import Precision, precision_to_level
from nq_tflite.govern.arbiter import Arbiter, Decision, ModelLevels
from nq_tflite.govern.policy import Policy, Preset, Rule
from nq_tflite.govern.sensors import Sensors

_log = logging.getLogger("nq_tflite.govern")
_governors: weakref.WeakSet[Governor] = weakref.WeakSet()


class Switchable(Protocol):
    """What a governor asks of a model; `nq.Interpreter` and `nq.CompiledModel` are such."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Precisions in bits, part-bit first."""

    @property
    def precision(self) -> int:
        """Bits of the next invocation."""

    def switch(self, precision: Precision) -> Switch:
        """Switches from the next invocation on."""

    def level_bytes(self, level: int) -> int:
        """Bytes of a level."""


@dataclass(frozen=True)
class GovernedSwitch:
    """A switch that a governor made or attempted.

    Attributes:
        time: seconds since the epoch.
        model: its name.
        from_bits, to_bits: precision before and after; equal after a failure.
        reason: why the governor switched.
        bytes_moved, seconds: as `Switch` says.
        readings: the sensors' readings at that time.
        error: why the switch failed, or "". After a failure the model runs on at its old precision.
    """

    time: float
    model: str
    from_bits: int
    to_bits: int
    reason: str
    bytes_moved: int
    seconds: float
    readings: Mapping[str, float]
    error: str = ""


class Governor:
    """Switches models according to the device's free memory, battery, temperature and so on.

    `with governor:` starts a thread that reads the sensors every `policy.interval_seconds`. An app with its own loop
    can call `step` there instead. Every switch is logged as a line of JSON by the logger "nq_tflite.govern".

    Args:
        models: one interpreter, or several by name in order of importance: the last one is downgraded first.
        policy: a `Policy`, a preset's name ("memory", "battery", "thermal", "latency", "manual", or several joined
            by "+"), or the path of a .toml file.
        on_switch: called after every switch, in the thread that made it.
        sensors: the source of readings; created when a rule first needs one.
        clock: a monotonic clock in seconds.

    Raises:
        PolicyError: there is no such policy, or no model.
        PrecisionError: a model has no nested weights.

    Example:
        >>> with nq.Governor(interp, "memory+battery"):  # doctest: +SKIP
        ...     run_camera(interp)
    """

    def __init__(
        self,
        models: Switchable | Mapping[str, Switchable],
        policy: Policy | Preset | str | os.PathLike[str] = "memory",
        *,
        on_switch: Callable[[GovernedSwitch], None] | None = None,
        sensors: Sensors | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = dict(models) if isinstance(models, Mapping) else {"model": models}
        self._arbiter = Arbiter(Policy.of(policy), [_levels_of(name, each) for name, each in self._models.items()])
        self._ceilings: list[int | None] = [None] * len(self._models)
        self._on_switch = on_switch
        self._sensors = sensors
        self._clock = clock
        self._reported: dict[str, float] = {}
        self._readings: dict[str, float] = {}
        self._decisions: dict[str, Decision] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        _governors.add(self)

    # ---- deciding ----------------------------------------------------------------------------------------------------

    def step(self) -> list[GovernedSwitch]:
        """Reads the sensors, decides and switches once; may be called from any thread.

        Downgrades come before upgrades, so that the budget is never exceeded.
        """
        with self._lock:
            self._readings = self._read()
            levels = [model.levels.index(model.precision) for model in self._models.values()]
            decisions = self._arbiter.decide(self._clock(), self._readings, levels, self._ceilings)
            self._decisions = dict(zip(self._models, decisions, strict=True))
            moves = [index for index, decision in enumerate(decisions) if decision.level != levels[index]]
            moves.sort(key=lambda index: decisions[index].level > levels[index])
            made = [self._switch(index, decisions[index]) for index in moves]
        if self._on_switch is not None:  # without the lock: it may call this governor, from any thread
            for each in made:
                self._on_switch(each)
        return made

    def report(self, **signals: float) -> None:
        """Gives the governor readings of the app's own, which rules may use. Each holds until the next report of it.

        Raises:
            PolicyError: a signal is not a number.
        """
        if strange := [name for name, value in signals.items() if not isinstance(value, int | float)]:
            raise PolicyError(f"signal {strange[0]!r}", expected="a number", got=repr(signals[strange[0]]))
        with self._lock:
            self._reported |= {name: float(value) for name, value in signals.items()}

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Times the block inside, for instance an invocation, and reports the time as "latency" in seconds.

        The reading is an exponential moving average: one tenth of the last time, nine tenths of the old average.
        """
        started = self._clock()
        yield
        seconds = self._clock() - started
        with self._lock:
            before = self._reported.get("latency", seconds)
            self._reported["latency"] = 0.9 * before + 0.1 * seconds

    def cap(self, precision: Precision | None, model: str | None = None) -> list[GovernedSwitch]:
        """Limits the precision of one model or of all; None and "full" lift the limit. Steps at once.

        Raises:
            PrecisionError: the model has no such precision.
            PolicyError: there is no such model.
        """
        if model is not None and model not in self._models:
            raise PolicyError("governed model", expected=f"one of {', '.join(self._models)}", got=repr(model))
        with self._lock:
            caps = {
                index: None if precision is None else precision_to_level(precision, each.levels)
                for index, (name, each) in enumerate(self._models.items())
                if model in (None, name)
            }
            for index, level in caps.items():
                self._ceilings[index] = level
        return self.step()

    @property
    def policy(self) -> Policy:
        """The governor's policy."""
        return self._arbiter.policy

    @property
    def budget_bytes(self) -> int | None:
        """The bytes that all models' nested weights may hold in memory together. Assigning it steps at once."""
        return self._arbiter.budget_bytes

    @budget_bytes.setter
    def budget_bytes(self, budget: int | None) -> None:
        if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 0):
            raise PolicyError("budget", expected="a number of bytes, or None", got=repr(budget))
        with self._lock:
            self._arbiter.budget_bytes = budget
        self.step()

    @property
    def readings(self) -> Mapping[str, float]:
        """The readings of the last step."""
        return dict(self._readings)

    @property
    def reasons(self) -> Mapping[str, str]:
        """For each model: why it has its level, or waits for another one, as of the last step."""
        return {name: decision.reason for name, decision in self._decisions.items()}

    @property
    def holding(self) -> tuple[Rule, ...]:
        """The rules that limit the precision, as of the last step."""
        return self._arbiter.holding

    # ---- running -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Steps once, and then at every interval in a thread of its own until `stop`."""
        if self._thread is not None:
            return
        self.step()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="nq_tflite.govern", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; the models keep their precision."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            if thread is not threading.current_thread():  # on_switch may stop its own governor
                thread.join()

    def __enter__(self) -> Governor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopping.wait(self.policy.interval_seconds):
            self.step()

    def _forget_thread(self) -> None:
        """In the child of a fork, which has no thread of the parent's to end or to wait for."""
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread = None

    def _read(self) -> dict[str, float]:
        names = {rule.signal for rule in self.policy.rules} - set(self._reported)
        if names and self._sensors is None:
            self._sensors = Sensors()
        read = self._sensors.read(sorted(names)) if self._sensors is not None else {}
        return read | self._reported

    def _switch(self, index: int, decision: Decision) -> GovernedSwitch:
        name, model = list(self._models.items())[index]
        before = model.precision
        try:
            done = model.switch(model.levels[decision.level])
        except NqError as error:
            self._arbiter.switch_failed(index)
            made = self._record(name, before, before, decision.reason, 0, 0.0, str(error))
            _log.warning("%s", _line(made))
        else:
            made = self._record(name, done.from_bits, done.to_bits, decision.reason, done.bytes_moved, done.seconds)
            _log.info("%s", _line(made))
        return made

    def _record(
        self, model: str, before: int, after: int, reason: str, moved: int, seconds: float, error: str = ""
    ) -> GovernedSwitch:
        return GovernedSwitch(time.time(), model, before, after, reason, moved, seconds, self.readings, error)


def _levels_of(name: str, model: Switchable) -> ModelLevels:
    if not hasattr(model, "levels"):
        expected = "an nq.Interpreter, or several by name"
        raise PolicyError("governor", expected=expected, got=f"a {type(model).__name__}")
    if not model.levels:
        got = "a model without nested weights"
        raise PrecisionError(name, expected="a nested model", got=got, fix="Convert it with nq.convert first.")
    return ModelLevels(name, model.levels, tuple(model.level_bytes(level) for level in range(len(model.levels))))


def _line(made: GovernedSwitch) -> str:
    return json.dumps({"event": "switch" if not made.error else "switch failed", **asdict(made)}, allow_nan=False)


def _forget_threads() -> None:
    for governor in _governors:
        governor._forget_thread()


os.register_at_fork(after_in_child=_forget_threads)
