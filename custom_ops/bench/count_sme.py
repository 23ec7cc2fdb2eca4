"""Instructions that a 1 x 1 convolution by SME's outer products executes for each multiply-accumulate, by its parts.

    make count-sme

sme_layer.c is a study for a kernel: docs/sme.md. Counted in emulation with vectors of three lengths, which is no time.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

VECTORS = {
    128: "max,sme128=on,sme256=off,sme512=off",
    256: "max,sme128=off,sme256=on,sme512=off",
    512: "max,sme128=off,sme256=off,sme512=on",
}
PARTS = ("rows packed", "codes unpacked", "multiplied")
SHAPES = ((960, 320, 196), (960, 320, 49), (576, 96, 196), (96, 32, 3136))  # depth, channels, rows


def build(folder: Path) -> None:
    """Clang compiles, and the C library of the cross compiler is linked."""
    source, flags = Path(__file__).with_name("sme_layer.c"), ["-std=c17", "-O3", "-mcpu=generic+sme+sve2"]
    clang = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.17", *flags]
    subprocess.run([*clang, "-c", source, "-o", folder / "sme_layer.o"], check=True)
    link = ["aarch64-linux-gnu-gcc", "-static", folder / "sme_layer.o", "-o", folder / "sme_layer", "-lm"]
    subprocess.run(link, check=True)


def count(folder: Path, vector: str, shape: tuple[int, int, int], times: tuple[int, int, int]) -> int:
    """How many instructions sme_layer executes to do each of its parts so often."""
    counts = folder / "counts.txt"
    plugin = ["-plugin", folder / "libqemu_count.so", "-d", "plugin", "-D", counts]
    numbers = map(str, (*shape, *times))
    subprocess.run(["qemu-aarch64", "-cpu", vector, *plugin, folder / "sme_layer", *numbers], check=True)
    return int(counts.read_text().split()[0])


def main(folder: Path) -> None:
    build(folder)
    print(f"{'instructions per multiply-accumulate':44}" + "".join(f"{part:>16}" for part in (*PARTS, "together")))
    for bits, vector in VECTORS.items():
        for shape in SHAPES:
            depth, channels, rows = shape
            once = count(folder, vector, shape, (1, 1, 1))
            twice = [count(folder, vector, shape, times) for times in ((2, 1, 1), (1, 2, 1), (1, 1, 2))]
            each = [(two - once) / (depth * channels * rows) for two in twice]
            label = f"{bits} bits   K {depth:4}  N {channels:4}  M {rows:4}"
            print(f"{label:44}" + "".join(f"{part:16.4f}" for part in (*each, sum(each))), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
