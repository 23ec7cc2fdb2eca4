"""Instructions that 64-bit Arm kernels execute for each multiply-accumulate, counted in emulation: no measure of time.

    make count-arm

Each kernel runs a layer's shape once and three times; the difference is two runs without what surrounds them. Weights
are unpacked once for a panel of rows, as in a network, and results are requantized; both are in the count.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CPU = "cortex-a76"
ISAS = ("scalar", "neon", "neondotprod")
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


def count(build: Path, kind: str, isa: str, shape: tuple[int, int, int], times: int) -> int:
    """How many instructions gemm_bench executes to run one shape so many times."""
    counts = build / "counts.txt"
    emulator = ["qemu-aarch64", "-cpu", CPU, "-L", "/usr/aarch64-linux-gnu"]
    plugin = ["-plugin", str(build / "libqemu_count.so"), "-d", "plugin", "-D", str(counts)]
    program = [str(build / "bench" / "gemm_bench"), "run", kind, isa, *map(str, shape), str(times)]
    subprocess.run([*emulator, *plugin, *program], check=True)
    return int(counts.read_text().split()[0])


def main(build: Path) -> None:
    print(f"instructions per multiply-accumulate at 8|5, full-bit, {CPU} in qemu")
    print(f"{'':34}" + "".join(f"{isa:>13}" for isa in ISAS))
    for kind, *shape in SHAPES:
        depth, channels, rows = shape
        line = f"{kind:10} K {depth:4}  N {channels:4}  M {rows:4}    "
        for isa in ISAS:
            executed = count(build, kind, isa, (depth, channels, rows), 3) - count(
                build, kind, isa, (depth, channels, rows), 1
            )
            line += f"{executed / (2 * depth * channels * rows):13.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
