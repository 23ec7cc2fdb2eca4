"""An emulated Arm CPU gives this machine's outputs, bit for bit: `pytest --cpu cortex-a72` (or cortex-a76)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest

import nq_tflite as nq

#: What can be compared: the runtimes' own kernels that are left in a net do not always give on Arm what they give on
#: x86. Full-int8 nets are fused whole; of the float nets' poolings, tflite-runtime's are not the same.
WHOLE = [("ai-edge-litert", "int8"), ("tflite-runtime", "int8"), ("ai-edge-litert", "float")]


@pytest.fixture(autouse=True)
def emulated(cpu: str | None) -> None:
    if cpu is None:
        pytest.skip("compares an emulated CPU with this one: --cpu names it")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("nesting", ["8_5", "8_6_4", "6_3"])
@pytest.mark.parametrize(("runtime", "kind"), WHOLE)
def test_fused_outputs_are_this_machines(
    runtime: str,
    kind: str,
    nesting: str,
    threads: int,
    worker_of: Any,
    native_worker_of: Any,
    nested_dir: Path,
    samples: np.ndarray,
) -> None:
    path = nested_dir / f"{kind}_{nesting}.tflite"
    for precision in nq.Nesting.parse(nesting.replace("_", "|")).precisions:
        calls = (jobs.all_outputs, path, samples[:3])
        [wanted] = native_worker_of(runtime)(*calls, precision=precision)
        [got] = worker_of(runtime)(*calls, precision=precision, threads=threads)
        np.testing.assert_array_equal(got, wanted)
