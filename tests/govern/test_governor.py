"""nq.Governor: on stand-ins for interpreters with a clock of the test's own, and on real ones under every runtime."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import switching_jobs

import nq_tflite as nq
from nq_tflite.errors import FormatError, PolicyError, PrecisionError
from nq_tflite.govern import GovernedSwitch, Sensors

COLD = nq.Policy("cold", (nq.Rule("warmth", below=10, until=20),), dwell_seconds=5, interval_seconds=0.01)


class StandIn:
    """What a governor sees of an interpreter; keeps the order of all switches in `journal`."""

    def __init__(self, journal: list[tuple[str, int]] | None = None, name: str = "model") -> None:
        self.levels: tuple[int, ...] = (4, 6, 8)
        self.precision = 8
        self.damaged = False
        self._name, self._journal = name, journal if journal is not None else []

    def level_bytes(self, level: int) -> int:
        return (400, 200, 200)[level]

    def switch(self, precision: nq.Precision) -> nq.Switch:
        if self.damaged:
            raise FormatError("section 1", expected="checksum 1", got="2")
        before, self.precision = self.precision, int(precision)
        self._journal.append((self._name, self.precision))
        return nq.Switch(before, self.precision, 0, 200, 1e-4, False)


class Clock:
    """Stands still between steps."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_follows_the_apps_own_signal_and_logs_every_switch(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nq_tflite.govern")
    model, clock, seen = StandIn(), Clock(), list[GovernedSwitch]()
    governor = nq.Governor(model, COLD, on_switch=seen.append, clock=clock)
    governor.report(warmth=30)
    assert governor.step() == []
    governor.report(warmth=5)
    [made] = governor.step()
    assert (made.model, made.from_bits, made.to_bits, made.reason) == ("model", 8, 4, "warmth below 10")
    assert (made.bytes_moved, made.readings, made.error) == (200, {"warmth": 5.0}, "")
    governor.report(warmth=50)
    assert governor.step() == []
    assert governor.reasons == {"model": "waiting, 0 of 5 s of calm"}
    clock.now = 5
    governor.step()
    assert model.precision == 8
    assert [switch.to_bits for switch in seen] == [4, 8]
    lines = [json.loads(record.message) for record in caplog.records]
    assert [(line["event"], line["model"], line["to_bits"]) for line in lines] == [
        ("switch", "model", b) for b in (4, 8)
    ]
    assert lines[0]["reason"] == "warmth below 10"


def test_it_reads_only_the_sensors_that_its_rules_name() -> None:
    class Recorder(Sensors):
        def read(self, names: Iterable[str] = ()) -> dict[str, float]:
            asked.append(list(names))
            return {"battery": 12.0}

    asked: list[list[str]] = []
    model = StandIn()
    nq.Governor(model, "battery", sensors=Recorder()).step()
    assert asked == [["battery"]]
    assert model.precision == 4


def test_downgrades_come_before_upgrades() -> None:
    journal: list[tuple[str, int]] = []
    first, last = StandIn(journal, "first"), StandIn(journal, "last")
    policy = nq.Policy("budget", dwell_seconds=0, budget_bytes=1200)
    governor = nq.Governor({"first": first, "last": last}, policy)
    governor.cap("part", "first")
    assert (first.precision, last.precision) == (4, 8)
    journal.clear()
    governor.cap(None, "first")
    assert journal == [("last", 4), ("first", 8)]


def test_a_new_budget_counts_at_once() -> None:
    first, last = StandIn(), StandIn()
    governor = nq.Governor({"first": first, "last": last}, "manual")
    governor.budget_bytes = 1300
    assert (first.precision, last.precision) == (8, 4)
    governor.budget_bytes = 0
    assert (first.precision, last.precision) == (4, 4)
    for budget in (-1, 0.5, True):
        with pytest.raises(PolicyError, match="a number of bytes"):
            governor.budget_bytes = budget  # type: ignore[assignment]


def test_caps_and_their_mistakes() -> None:
    first, last = StandIn(), StandIn()
    governor = nq.Governor({"first": first, "last": last}, nq.Policy(dwell_seconds=0))
    assert len(governor.cap(6)) == 2
    assert (first.precision, last.precision) == (6, 6)
    governor.cap("full")
    assert (first.precision, last.precision) == (8, 8)
    with pytest.raises(PrecisionError, match="4, 6, 8"):
        governor.cap(5)
    with pytest.raises(PolicyError, match="one of first, last"):
        governor.cap("part", "second")
    with pytest.raises(PolicyError, match="a number"):
        governor.report(warmth="high")  # type: ignore[arg-type]


def test_a_failed_switch_is_told_and_tried_again_after_a_dwell(caplog: pytest.LogCaptureFixture) -> None:
    model, clock = StandIn(), Clock()
    model.precision, model.damaged = 4, True
    governor = nq.Governor(model, COLD, clock=clock)
    governor.step()
    clock.now = 5
    [made] = governor.step()
    assert (made.from_bits, made.to_bits) == (4, 4)
    assert "checksum" in made.error
    assert json.loads(caplog.records[-1].message)["event"] == "switch failed"
    clock.now = 6
    assert governor.step() == []
    model.damaged, clock.now = False, 11
    assert [switch.to_bits for switch in governor.step()] == [8]


def test_latency_is_a_mean_that_forgets() -> None:
    clock, model = Clock(), StandIn()
    governor = nq.Governor(model, "latency", clock=clock)
    for milliseconds, precision in ((10, 8), (20, 8), (300, 4)):
        with governor.timed():
            clock.now += milliseconds / 1000
        governor.step()
        assert model.precision == precision
    assert governor.readings["latency"] == pytest.approx(0.9 * (0.9 * 0.010 + 0.1 * 0.020) + 0.1 * 0.300)


def test_its_thread_steps_until_it_is_stopped() -> None:
    model, downgraded = StandIn(), threading.Event()
    governor = nq.Governor(model, COLD, on_switch=lambda made: downgraded.set())
    with governor:
        governor.start()  # twice is once
        governor.report(warmth=0)
        assert downgraded.wait(10)
    assert not any(thread.name == "nq_tflite.govern" for thread in threading.enumerate())
    governor.stop()


def test_a_callback_may_stop_its_governor() -> None:
    stopped = threading.Event()

    def stop(made: GovernedSwitch) -> None:
        governor.stop()
        stopped.set()

    governor = nq.Governor(StandIn(), COLD, on_switch=stop)
    governor.start()
    governor.report(warmth=0)
    assert stopped.wait(10)


@pytest.mark.parametrize("make", [lambda: nq.Governor({}), lambda: nq.Governor(StandIn(), "weather")])
def test_no_model_and_no_policy(make: Callable[[], nq.Governor]) -> None:
    with pytest.raises(PolicyError):
        make()


def test_a_stock_model_is_refused() -> None:
    model = StandIn()
    model.levels = ()
    with pytest.raises(PrecisionError, match="without nested weights"):
        nq.Governor(model)


def test_real_interpreters_share_a_budget_while_they_run(worker: Any, nested_dir: Path, samples: np.ndarray) -> None:
    paths = [nested_dir / "int8_8_5.tflite", nested_dir / "int8_8_6_4.tflite"]
    seen = worker(switching_jobs.govern, paths, samples[:1], times=40)
    assert seen["switches"] >= 40
    assert seen["over budget"] == 0
    assert seen["foreign outputs"] == 0
    assert seen["at the end"] == (8, 8)


def test_a_child_process_governs_anew() -> None:
    """Forked while the parent's thread holds the lock: a sensor that waits is read under it."""
    reading, go_on = threading.Event(), threading.Event()

    class Waiting(Sensors):
        def read(self, names: Iterable[str] = ()) -> dict[str, float]:
            reading.set()
            go_on.wait()
            return {"warmth": 5}

    model = StandIn()
    governor = nq.Governor(model, COLD, sensors=Waiting())
    stepping = threading.Thread(target=governor.step)
    stepping.start()
    reading.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        go_on.set()
        governor.start()
        while model.precision != 4:
            time.sleep(0.01)
        governor.stop()
        os._exit(0)
    go_on.set()
    stepping.join()
    assert os.waitpid(child, 0)[1] == 0
