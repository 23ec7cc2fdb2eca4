"""Counts the instructions that one inference executes on emulated Arm CPUs, nested and stock: `make count-arm-nets`.

A count is not a time: it knows nothing of how many instructions a cycle retires or of waiting for memory. A process
with twice the invocations less one with once as many leaves the invocations alone, without start-up and loading.
"""

from __future__ import annotations

import subprocess

import arm64
from nq_tflite_models.measure.comparison import model_files

NET = "mobilenet_v2"
RUNTIME = "ai-edge-litert"
INVOCATIONS = 2
#: Arguments: file, precision ("" for the stock Interpreter), invocations.
PROGRAM = f"""
import sys
from nq_tflite import Interpreter
from nq_tflite.device.runtimes import load_runtime
path, precision, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
if precision:
    interpreter = Interpreter(path, precision=precision, runtime={RUNTIME!r}, num_threads=1)
else:
    interpreter = load_runtime({RUNTIME!r}).interpreter(path, num_threads=1)
interpreter.allocate_tensors()
for _ in range(times):
    interpreter.invoke()
if precision and times == {INVOCATIONS}:
    print("    " + interpreter.delegation.summary(), flush=True)
"""


def executed(cpu: str, path: str, precision: str, invocations: int) -> int:
    """Instructions of a whole process."""
    counts = arm64.BUILD / "counts.txt"
    plugin = ["-plugin", str(arm64.BUILD / "libqemu_count.so"), "-d", "plugin", "-D", str(counts)]
    arguments = ["-P", "-c", PROGRAM, path, precision, str(invocations)]
    fixed_hashes = ["-E", "PYTHONHASHSEED=0"]
    subprocess.run(arm64.command(cpu, arguments, [*fixed_hashes, *plugin]), check=True, stderr=subprocess.DEVNULL)
    return int(counts.read_text().split()[0])


def main() -> None:
    files = model_files(NET, arm64.BUILD / "nets")
    print(f"{NET}, {RUNTIME}, 1 thread: millions of instructions an inference, and for each multiply-accumulate")
    for cpu in arm64.CPUS:
        stock = None
        for name, path, precision in (
            ("stock INT8", files.stock, ""),
            ("nested, full-bit", files.nested, "full"),
            ("nested, part-bit", files.nested, "part"),
        ):
            counts = [executed(cpu, str(path), precision, times) for times in (2 * INVOCATIONS, INVOCATIONS)]
            count = (counts[0] - counts[1]) / INVOCATIONS
            stock = stock or count
            ratio = count / files.multiply_accumulates
            print(f"{cpu}  {name:17} {count / 1e6:9.1f}  {ratio:6.3f}  {count / stock:6.2f} of stock", flush=True)


if __name__ == "__main__":
    main()
