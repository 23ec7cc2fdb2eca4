"""The app under pressure: runs one model again and again in a memory-limited group, and tells of every result.

A process of its own, `python -m nq_tflite_models.measure.pressure_app`, with a JSON job on stdin; every line of its
stdout is a result: the moment (monotonic seconds) and the name of the model that gave it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from nq_tflite.device.opening import open_model
from nq_tflite.device.runtimes import load_runtime
from nq_tflite.govern import Arbiter, Governor, ModelLevels, Policy, Rule, Sensors

#: Part-bit, or the small model, while less than this percent of the group's memory is free, until more than that.
POLICY = Policy("pressure", (Rule("memory_available", below=12, until=25),), dwell_seconds=1.0, interval_seconds=0.05)
Invoke = Callable[[], str]


def nested_app(job: dict[str, Any]) -> Invoke:
    """A nested model under a governor, begun at part-bit."""
    model = open_model(job["nested"], True, job["runtime"], 1, "part")
    governor = Governor(model, POLICY)
    governor.start()

    def invoke() -> str:
        model.invoke()
        return f"{model.precision}-bit"

    return invoke


def part_app(job: dict[str, Any]) -> Invoke:
    """A nested model that stays at part-bit."""
    model = open_model(job["nested"], True, job["runtime"], 1, "part")

    def invoke() -> str:
        model.invoke()
        return f"{model.precision}-bit"

    return invoke


def fixed_app(job: dict[str, Any]) -> Invoke:
    """A stock model that never changes."""
    model = open_model(job["large"], False, job["runtime"], 1)

    def invoke() -> str:
        model.invoke()
        return "large"

    return invoke


def reload_app(job: dict[str, Any], drop_first: bool) -> Invoke:
    """Two stock models by the same policy, begun with the one that fits.

    Either the model in use goes before the other is loaded, or service goes on until that is there.
    """
    paths = (job["small"], job["large"])
    arbiter = Arbiter(POLICY, [ModelLevels("two models", (4, 8), (0, 0))])
    sensors, looked = Sensors(), time.monotonic()
    level = int(sensors.read(["memory_available"])["memory_available"] >= job["large_percent"])
    model = open_model(paths[level], False, job["runtime"], 1)

    def invoke() -> str:
        nonlocal model, level, looked
        now = time.monotonic()
        if now - looked >= POLICY.interval_seconds:
            looked = now
            wanted = arbiter.decide(now, sensors.read(["memory_available"]), [level])[0].level
            if wanted != level:
                if drop_first:
                    model = None
                model, level = open_model(paths[wanted], False, job["runtime"], 1), wanted
        model.invoke()
        return ("small", "large")[level]

    return invoke


def idle_app(job: dict[str, Any]) -> Invoke:
    """No model: what the process itself holds."""
    load_runtime(job["runtime"])

    def invoke() -> str:
        time.sleep(0.1)
        return "none"

    return invoke


NESTED, PART, STOCK, IDLE = "nested, governed", "nested, always part-bit", "stock, one model", "no model"
APPS = {
    NESTED: nested_app,
    PART: part_app,
    "stock, two models, the old one goes first": partial(reload_app, drop_first=True),
    "stock, two models, the new one comes first": partial(reload_app, drop_first=False),
    STOCK: fixed_app,
    IDLE: idle_app,
}


def main() -> None:
    """Runs a job until its end, or until the kernel kills it."""
    job = json.load(sys.stdin)
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    invoke = APPS[job["app"]](job)
    end = job["end"]
    while time.monotonic() < end:
        name = invoke()
        results.write(f"{time.monotonic():.4f} {name}\n")


if __name__ == "__main__":
    main()
