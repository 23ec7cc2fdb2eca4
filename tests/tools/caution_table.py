"""What rounding's caution may lose a layer and a model: `python tests/tools/caution_table.py [NET ...]`.

Prints, for several limits, what the default loses at full-bit beside plain rounding and gains at part-bit, on nets that
no table of the documentation shows. `rounding.caution.SLACK` and `trial.MOST_LOSS_DB` are chosen by it: the largest
limit that keeps the promise of a decibel with room to spare.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from nq_tflite_models.measure.full_bit import Judge, data_of, extracted, kinds_of, make_source
from nq_tflite_models.nets.for_rounding import TUNING_NETS

import nq_tflite as nq
from nq_tflite.conversion import trial
from nq_tflite.conversion.rounding import Rounding, caution

LIMITS_DB = (0.25, 0.5, 1.0)
SAMPLES = (0, 16, 48)
NESTING = "8|5"


def measured(name: str) -> list[list[tuple[float, float]]]:
    """For each kind of source, (loss at full-bit, gain at part-bit) over plain rounding by limit, in dB."""
    net, found = TUNING_NETS[name], []
    model = net.build()
    judge = Judge(model)
    with tempfile.TemporaryDirectory() as scratch:
        for kind in kinds_of(net):
            for count in SAMPLES if kind != "keras" else SAMPLES[1:]:
                data = data_of(model, count)
                source, _ = make_source(kind, model, net, Path(scratch), data)

                def levels(rounding: Rounding) -> tuple[float, float]:
                    nested = Path(scratch, "nested.tflite")
                    nq.convert(source, nested, NESTING, data, rounding=rounding, progress=None)  # noqa: B023
                    return judge.snr_db(extracted(nested, "full")), judge.snr_db(extracted(nested, "part"))

                plain = levels("nearest")
                row = []
                for limit in LIMITS_DB:
                    with (
                        mock.patch.object(caution, "SLACK", 10 ** (limit / 10) - 1),
                        mock.patch.object(trial, "MOST_LOSS_DB", limit),
                    ):
                        full, part = levels("descent")
                    row.append((plain[0] - full, part - plain[1]))
                found.append(row)
                shown = "  ".join(f"{loss:5.1f} {gain:5.1f}" for loss, gain in row)
                print(f"{name:16} {kind:18} {count:4} {plain[0]:6.1f} {plain[1]:6.1f}  {shown}", flush=True)
    return found


def main(names: list[str]) -> None:
    head = "  ".join(f"{limit:5.2f} dB   " for limit in LIMITS_DB)
    print(f"{'':40} {'nearest':>13}  {head}")
    print(
        f"{'net':16} {'source':18} {'data':>4} {'full':>6} {'part':>6}  " + "  ".join(["loss  gain"] * len(LIMITS_DB))
    )
    rows = np.array([row for name in names or TUNING_NETS for row in measured(name)])
    shown = "  ".join(f"{a:5.1f} {b:5.1f}" for a, b in zip(rows[:, :, 0].max(0), rows[:, :, 1].mean(0), strict=True))
    print(f"{'largest loss, mean gain':54}  {shown}")


if __name__ == "__main__":
    main(sys.argv[1:])
