"""The nq-tflite command, run by tests."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from click.testing import CliRunner, Result

from nq_tflite.cli import nq_tflite


def invoke(*arguments: object) -> Result:
    """Runs the command line within this process; an exception that is no exit fails the test."""
    result = CliRunner().invoke(nq_tflite, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own, as what loads a runtime must."""
    command = [sys.executable, "-m", "nq_tflite", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def check_error(result: Any, *texts: str) -> None:
    """Exit code 1, nothing on stdout, one line `error: ...` on stderr, no traceback."""
    code = result.exit_code if isinstance(result, Result) else result.returncode
    assert code == 1, result.stderr
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stderr
    for text in texts:
        assert text in lines[0]
