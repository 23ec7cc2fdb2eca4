"""A Raspberry Pi's CPU without a Raspberry Pi: an arm64 Python with the stock runtimes, under qemu-user.

`arm64.py WHEEL` sets it up below build/arm64 (Debian's packages and the package index's wheels, downloaded once) and
installs an aarch64 wheel of nq-tflite in it; `pytest --cpu cortex-a72` then runs every job there.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
BUILD = TESTS.parent / "build" / "arm64"
BASE = BUILD / "base"
SITE = BUILD / "site"
#: Debian 12's Python 3.11 and what it needs to import NumPy, ctypes and a runtime.
DEBIAN_PACKAGES = (
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libffi8", "libbz2-1.0", "liblzma5", "libssl3"),
    *("libuuid1", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
)
WHEELS = ("tflite-runtime==2.14.0", "ai-edge-litert==2.3.0", "numpy==1.26.4", "flatbuffers==25.12.19")
RUNTIMES = ("ai-edge-litert", "tflite-runtime")
#: qemu 7 has no CPU by name that multiplies 8-bit matrices: one of everything less what this one lacks.
I8MM = "max,sme=off,sve=off"
#: CPUs by qemu's names: what /proc/cpuinfo calls their part and features. The Raspberry Pi 4's; the 5's, which has dot
#: products; and one like a Cortex-A710, which has matrix products too.
CPUS = {
    "cortex-a72": ("0xd08", "fp asimd evtstrm crc32 cpuid"),
    "cortex-a76": ("0xd0b", "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp"),
    I8MM: ("0xd47", "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp i8mm"),
}


def install(wheel: Path) -> None:
    """Sets up what is missing and installs the wheel."""
    if not (BASE / "usr" / "bin" / "python3.11").exists():
        _unpack_debian()
    for cpu, (part, features) in CPUS.items():
        _make_root(cpu, part, features)
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (17, 27, 28, 34)]
    for_python = ["--python-version=3.11", "--implementation=cp", "--only-binary=:all:", "--no-deps", "--upgrade"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", f"--target={SITE}", *for_python, *platforms]
    if not (SITE / "ai_edge_litert").exists():
        subprocess.run([*pip, *WHEELS], check=True)
    subprocess.run([*pip, "--platform=manylinux2014_aarch64", "--force-reinstall", wheel], check=True)


def _unpack_debian() -> None:
    """Debian's own archive tool fetches another architecture's packages, with lists of its own."""
    lists, debs, cache = BUILD / "apt" / "lists", BUILD / "debs", BUILD / "apt" / "cache"
    for folder in (lists / "partial", cache / "archives" / "partial", debs):
        folder.mkdir(parents=True, exist_ok=True)
    settings = ["APT::Architecture=arm64", "APT::Architectures::=arm64", f"Dir::State::Lists={lists}"]
    settings += [f"Dir::Cache={cache}", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-q", *(word for each in settings for word in ("-o", each))]
    subprocess.run([*apt, "update"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*apt, "download", *DEBIAN_PACKAGES], check=True, cwd=debs, stdout=subprocess.DEVNULL)
    partial = BUILD / "base.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", deb, partial], check=True)
    partial.rename(BASE)


def _make_root(cpu: str, part: str, features: str) -> None:
    """What the emulated program sees in place of the machine's files: the base, and an Arm's /proc/cpuinfo."""
    root = BUILD / cpu
    (root / "proc").mkdir(parents=True, exist_ok=True)
    for folder in BASE.iterdir():
        if not (root / folder.name).exists():
            (root / folder.name).symlink_to(folder)
    processor = f"BogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
    processor += f"CPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n\n"
    (root / "proc" / "cpuinfo").write_text("".join(f"processor\t: {index}\n{processor}" for index in range(2)))


def command(cpu: str, arguments: Sequence[str | os.PathLike[str]], emulator: Sequence[str] = ()) -> list[str]:
    """A command that runs the emulated Python; `emulator` are further options of qemu's."""
    root = BUILD / cpu
    python = root / "usr" / "bin" / "python3.11"
    if not python.exists():
        raise FileNotFoundError(f"{python}: set it up with `make arm64`")
    path = f"PYTHONPATH={SITE}:{TESTS / 'jobs'}:{TESTS / 'support'}"
    return ["qemu-aarch64", "-cpu", cpu, "-L", str(root), "-E", path, *emulator, str(python), *map(str, arguments)]


class EmulatedWorker:
    """`worker(job, *arguments)` runs a job in an emulated process that has one stock runtime."""

    def __init__(self, cpu: str, runtime: str) -> None:
        self._runtime = runtime
        serve = command(cpu, [TESTS / "jobs" / "serve_jobs.py"])
        self._process = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, job: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        calls, answers = self._process.stdin, self._process.stdout
        assert calls is not None
        assert answers is not None
        pickle.dump(pickle.dumps((job, (self._runtime, *arguments), keywords)), calls)
        calls.flush()
        result, error = pickle.load(answers)  # noqa: S301 - the process is ours
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


if __name__ == "__main__":
    install(Path(sys.argv[1]))
