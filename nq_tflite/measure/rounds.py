"""Models take turns in rounds long enough to time, so that other work on the machine slows all of them alike."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

#: Seconds after which a pool of threads that has no work sleeps.
_PAUSE = 0.004
#: The least that a timed round takes: of a shorter one, the system's interruptions are a good part. In five runs of a
#: benchmark, the ratio of a model of 0.03 ms differed by 0.15 with rounds of 2 ms, and by 0.02 with these.
ROUND = 0.01
_MOST_INVOCATIONS = 10_000


def interleaved(models: Sequence[Any], runs: int, warmup: int) -> tuple[list[int], list[list[float]]]:
    """How often each model is invoked in a round, and seconds of an invocation in each round.

    Before each round stands an untimed invocation. The order turns by one every round, so that none is always first.
    """
    invocations = [_invocations_in_round(model) for model in models]
    seconds: list[list[float]] = [[] for _ in models]
    for turn in range(warmup + runs):
        for offset in range(len(models)):
            index = (turn + offset) % len(models)
            time.sleep(_PAUSE)  # the threads of the model before still spin for work, on processors that this one needs
            models[index].invoke()  # and this one's sleep
            started = time.perf_counter()
            for _ in range(invocations[index]):
                models[index].invoke()
            if turn >= warmup:
                seconds[index].append((time.perf_counter() - started) / invocations[index])
    return invocations, seconds


def _invocations_in_round(model: Any) -> int:
    """As many as take `ROUND` together, by the fastest of a few: the first ones take longer than those that follow."""
    fastest, count = math.inf, 1
    for _ in range(8):
        started = time.perf_counter()
        for _ in range(count):
            model.invoke()
        fastest = min(fastest, (time.perf_counter() - started) / count)
        count = min(max(math.ceil(ROUND / 10 / fastest), 1), _MOST_INVOCATIONS)
    return min(max(math.ceil(ROUND / fastest), 1), _MOST_INVOCATIONS)
