"""Which mutex guards what: Clang, the system's or ziglang's, checks the rules of custom_ops/src/threads/locks.h."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "custom_ops" / "src"
CLANG = [clang] if (clang := shutil.which("clang++")) else [sys.executable, "-m", "ziglang", "c++"]
RULES = ["-std=c++17", "-Wthread-safety", "-Wthread-safety-beta", "-Werror", "-Wno-unused-command-line-argument"]


def compile_file(source: Path, folder: Path) -> str:
    """What Clang has to say about it; "" if nothing."""
    includes = [f"-I{SOURCES}", f"-I{SOURCES.parent / 'include'}"]
    command = [*CLANG, *RULES, *includes, "-c", str(source), "-o", str(folder / "object.o")]
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(folder), "ZIG_LOCAL_CACHE_DIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode == 0) == (done.stderr == ""), done.stderr
    return done.stderr


def locking_files() -> list[Path]:
    found = [path for path in sorted(SOURCES.rglob("*.cc")) if "Lock " in path.read_text()]
    assert {path.name for path in found} >= {"session.cc", "registry.cc", "thread_pool.cc"}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("source", locking_files(), ids=lambda path: path.stem)
def test_files_keep_the_lock_rules(source: Path, tmp_path: Path) -> None:
    assert compile_file(source, tmp_path) == ""


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("session/session.cc", "  const Lock state(state_);\n  loaded_ = true;", "'loaded_' requires holding mutex"),
        ("session/session.cc", "  const Control control(this);\n  Snapshot placement;", "requires holding mutex"),
        ("session/registry.cc", "  const Lock lock(all.mutex);\n  const auto found", "'sessions' requires holding"),
        ("threads/thread_pool.cc", "  const Lock lock(mutex_);\n  if (!failure_)", "'failure_' requires holding"),
    ],
    ids=["state", "control", "registry", "failure"],
)
def test_a_lock_left_out_is_found(file: str, line: str, complaint: str, tmp_path: Path) -> None:
    text = (SOURCES / file).read_text()
    assert line in text
    changed = tmp_path / "changed.cc"
    changed.write_text(text.replace(line, line.partition("\n")[2]))
    assert complaint in compile_file(changed, tmp_path)
