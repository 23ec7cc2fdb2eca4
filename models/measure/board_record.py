"""What the board kit found: a line of JSON to paste, and a table of one row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nq_tflite_models.measure.board_facts import Board, Health

#: Of the models, the seeds and the names below: records of one number can be compared.
KIT = 1
#: Bytes of a line that a reader still pastes.
MOST_BYTES = 2048
#: CRC-32 of the outputs of MobileNetV2 for images of a size, full-bit and part-bit.
EXPECTED = {
    224: {"full": "97b09497", "part": "e0f4beb7"},
    32: {"full": "b9357e22", "part": "3928152a"},
}

#: Everything, as JSON has it.
Record = dict[str, Any]


def facts(board: Board, before: Health) -> Record:
    """The start of a record: the board and its state."""
    return {
        "kit": KIT,
        "board": board.name,
        "cores": board.cores,
        "system": board.system,
        "hwcap": board.hwcap,
        "governor": board.clock_governor,
        "before": state(before),
    }


def state(health: Health) -> Record:
    """Temperature, clock and throttling bits; what the system does not tell is left out."""
    bits = None if health.bits is None else f"{health.bits:x}"
    known = {"C": health.celsius, "MHz": health.megahertz, "bits": bits, "cooled": health.cooled or None}
    return {name: value for name, value in known.items() if value is not None}


def is_exact(sums: Mapping[str, str], size: int) -> bool:
    """Whether full-bit and part-bit have given the bytes that they give everywhere."""
    return all(sums[name] == wanted for name, wanted in EXPECTED[size].items())


def paste(record: Record) -> str:
    """The record on one line."""
    return json.dumps(record, separators=(",", ":"))


def verdict(record: Record) -> str:
    """The record as a Markdown table of one row."""
    cells = _facts_cells(record) | (_measured_cells(record) if "net" in record else {}) | _standing(record)
    rows = (cells.keys(), ["---"] * len(cells), cells.values())
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _facts_cells(record: Record) -> dict[str, str]:
    return {"board": f"{record['board']}, {record['cores']}"}


def _measured_cells(record: Record) -> dict[str, str]:
    cells = {"kernels": record["kernels"]["matrix"], "exact": "yes" if record["exact"] else "**NO**"}
    for name, net in record["net"].items():
        ratios = ", ".join(f"{net['x'][lane][1]:.2f}" for lane in ("full", "part"))
        cells[f"{name}: stock ms; full, part"] = f"{net['ms']['stock'][1]:.3g}; {ratios} x"
    memory = record["MB"]
    cells["memory: stock MB; full, part"] = (
        f"{memory['stock']:.3g}; {memory['full'] / memory['stock']:.2f}, {memory['part'] / memory['stock']:.2f} x"
    )
    switch = record["switch_ms"]
    cells["upgrade and run, warm; cold"] = f"{switch['up']:.3g}; {switch['cold'][1]:.3g} ms"
    return cells


def _standing(record: Record) -> dict[str, str]:
    if refused := record.get("refused"):
        return {"standing": f"REFUSED: {refused}"}
    if doubt := record.get("throttled"):
        return {"standing": f"NOT VALID, throttled meanwhile: {doubt}"}
    return {"standing": "valid"}
