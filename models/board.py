"""`python -m nq_tflite_models.board`: three minutes on an Arm board (or any Linux machine), and one line to paste.

Needs NumPy and a TFLite runtime. The models are made on the board, from a seed, if ai-edge-litert is installed; with
tflite-runtime alone, make them on a computer by `--prepare` and copy the folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nq_tflite_models.measure import board_record
from nq_tflite_models.measure.board_kit import OLDEST_ISA, Kit, in_children, in_this_process, prepare
from nq_tflite_models.measure.board_record import EXPECTED, KIT
from nq_tflite_models.weights.archives import cache_dir

from nq_tflite.device.runtimes import RUNTIMES
from nq_tflite.errors import NqError, reason_of


def main(arguments: list[str] | None = None) -> int:
    """Measures, and prints the row and the line."""
    parser = argparse.ArgumentParser(prog="python -m nq_tflite_models.board", description=__doc__)
    parser.add_argument("--runtime", choices=RUNTIMES, help="the first one installed if not given")
    parser.add_argument("--seconds", type=float, default=100.0, help="of timing, in all; default: %(default)s")
    parser.add_argument(
        "--isa", default=OLDEST_ISA, help="kernels to time MobileNetV2 by once more; default: %(default)s"
    )
    parser.add_argument("--size", type=int, choices=EXPECTED, default=224, help="of images; 32 for a try")
    parser.add_argument("--cache", type=Path, help="folder that keeps the models; nq_tflite_models' own if not given")
    parser.add_argument("--prepare", action="store_true", help="make the models, and end")
    parser.add_argument("--one-process", action="store_true", help="for emulators, which can start no other")
    options = parser.parse_args(arguments)
    folder = options.cache or cache_dir() / f"board_kit_{KIT}"
    try:
        prepare(folder, options.size)
        if options.prepare:
            print(f"The models are in {folder}")
            return 0
        record = Kit(
            folder,
            run=in_this_process if options.one_process else in_children,
            notify=lambda stage: print(f"{stage} ...", file=sys.stderr, flush=True),
            runtime=options.runtime,
            isa=options.isa,
            size=options.size,
            seconds=options.seconds,
        ).measure()
    except (NqError, OSError) as error:
        print(f"error: {error if isinstance(error, NqError) else reason_of(error)}", file=sys.stderr)
        return 1
    print(f"{board_record.verdict(record)}\n\n{board_record.paste(record)}")
    return 1 if "refused" in record else 0


if __name__ == "__main__":
    sys.exit(main())
