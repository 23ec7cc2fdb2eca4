"""What a nested model and its alternatives cost on this machine, measured, as strategies to simulate."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import PrecisionError
from nq_tflite.govern.simulate import Costs, Strategy
from nq_tflite.graph.extraction import extract
from nq_tflite.measure.benchmark import footprint_in_child
from nq_tflite.measure.memory import Footprint, MedianSwitch
from nq_tflite.progress import Progress, silent

GOVERNED = "nested, governed"


def measure_strategies(
    path: str | os.PathLike[str],
    *,
    runtime: RuntimeName | None = None,
    progress: Progress = silent,
) -> tuple[Strategy, ...]:
    """A nested model's strategies at its lowest and highest precision, each process of its own measured.

    * governed: the nested file, switched by the policy;
    * two models: a packed file for each precision, as if each were a nested file of that precision alone, and the
      policy loads the other one;
    * always part-bit: the lower of these two;
    * stock, always full-bit: the model that `extract` writes, under the stock runtime.

    Raises:
        PrecisionError: not a nested model.
        FormatError, MissingPackageError, NativeLibraryError: as nq.Interpreter.

    Example:
        >>> measure_strategies("model.tflite")[0].costs.held_bytes  # doctest: +SKIP
        (4862976, 6610944)
    """
    model = os.fspath(path)
    progress("measuring the nested model", 0, 2)
    nested = footprint_in_child(model, True, runtime)
    if nested.switch is None:
        raise PrecisionError(model, expected="a nested model", got="one that cannot switch")
    progress("measuring the extracted stock model", 1, 2)
    with tempfile.TemporaryDirectory() as folder:
        stock_path = Path(folder) / "stock.tflite"
        extract(model, stock_path, "full")
        stock = footprint_in_child(str(stock_path), False, runtime)
        stock_bytes = stock_path.stat().st_size
    costs = _nested_costs(nested, nested.switch)
    alone = Costs(
        costs.precisions, costs.held_bytes, costs.weight_bytes, costs.start_seconds, costs.start_seconds, reloads=True
    )
    start = stock.reload.load_and_run_seconds
    held = stock.states[0].added.held
    both = len(costs.precisions)
    fixed = Costs(costs.precisions, (held,) * both, (stock_bytes,) * both, (start,) * both, (start,) * both)
    return (
        Strategy(GOVERNED, costs),
        Strategy("two packed models, reloaded", alone),
        Strategy("part-bit alone", alone, fixed=0),
        Strategy("stock, always full-bit", fixed, fixed=both - 1),
    )


def _nested_costs(footprint: Footprint, switch: MedianSwitch) -> Costs:
    part, full = (
        next(state for state in reversed(footprint.states) if state.bits == bits)
        for bits in sorted({state.bits for state in footprint.states if state.bits is not None})
    )
    start = footprint.reload.load_and_run_seconds
    return Costs(
        precisions=(part.bits or 0, full.bits or 0),
        held_bytes=(part.added.held, full.added.held),
        weight_bytes=(part.weights or 0, full.weights or 0),
        start_seconds=(start, start),
        switch_seconds=(switch.downgrade_and_run_seconds, switch.upgrade_and_run_seconds),
    )
