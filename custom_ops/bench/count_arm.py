"""Instructions that 64-bit Arm kernels execute for each multiply-accumulate, counted in emulation: no measure of time.

    make count-arm

Each kernel runs a layer's shape between two marks; what surrounds it is not counted. Weights are unpacked once for a
panel of rows, as in a network, and results are requantized; both are in the count.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CPU = "max,sme=off,sve=off"
ISAS = ("scalar", "neon", "neondotprod", "neoni8mm")
SHAPES = (  # kind, depth, channels, rows
    ("matrix", 576, 64, 3136),
    ("matrix", 1152, 128, 784),
    ("matrix", 256, 1024, 196),
    ("matrix", 4608, 512, 49),
    ("matrix", 96, 24, 3136),
    ("matrix", 2048, 1000, 1),
    ("depthwise", 9, 96, 3136),
    ("depthwise", 9, 960, 49),
)


def count(build: Path, kind: str, isa: str, shape: tuple[int, int, int]) -> int:
    """How many instructions gemm_bench executes to run one shape."""
    blocks = build / "blocks.txt"
    emulator = ["qemu-aarch64", "-cpu", CPU, "-L", "/usr/aarch64-linux-gnu"]
    plugin = ["-plugin", f"{build / 'libqemu_blocks.so'},out={blocks}", "-d", "plugin", "-D", "/dev/null"]
    program = [str(build / "bench" / "gemm_bench"), "run", kind, isa, *map(str, shape), "1"]
    subprocess.run([*emulator, *plugin, *program], check=True)
    lines = (line.split() for line in blocks.read_text().splitlines())
    return sum(int(instructions) * int(times) for _, instructions, times in lines)


def main(build: Path) -> None:
    print(f"instructions per multiply-accumulate at 8|5, full-bit, {CPU} in qemu")
    print(f"{'':34}" + "".join(f"{isa:>13}" for isa in ISAS))
    for kind, *shape in SHAPES:
        depth, channels, rows = shape
        line = f"{kind:10} K {depth:4}  N {channels:4}  M {rows:4}    "
        for isa in ISAS:
            executed = count(build, kind, isa, (depth, channels, rows))
            line += f"{executed / (depth * channels * rows):13.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
