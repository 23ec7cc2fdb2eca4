"""The board kit in a process that has one stock runtime."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from nq_tflite_models.measure import board_kit
from nq_tflite_models.measure.board_facts import Health
from nq_tflite_models.measure.board_record import Record

COOL = Health(celsius=48.7, megahertz=2400.0, bits=0, cooled=False)


def measure(runtime: str, folder: Path, size: int) -> Record:
    """A record of this machine, as if it were cool, with as few rounds as there can be."""
    kit = board_kit.Kit(folder, board_kit.in_this_process, print, runtime=runtime, size=size, seconds=0.0)
    with mock.patch.object(board_kit, "read_health", return_value=COOL):
        return kit.measure()
