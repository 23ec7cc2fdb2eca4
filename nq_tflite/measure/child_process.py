"""Jobs in separate processes, for measurements that other memory would disturb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from nq_tflite import errors
from nq_tflite.errors import NqError

#: What a child process takes and gives: only what JSON holds.
Job = dict[str, Any]


#: `python -m`, but with the parent's path: that of -m and of -c starts in the working folder, where models may lie.
_RUN_MODULE = """
import sys
sys.path[:] = sys.argv[2:]
import runpy
runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
"""


def run_in_child(module: str, job: Job, isa: str | None = None) -> Job:
    """Runs a module as `python -m` does, with a job on its stdin and reads the answer from its stdout, both JSON.

    `isa` is the instruction set that the child's native library uses; the environment decides if it is not given.

    Raises:
        NqError: of the class that the child raised, or of the base class if it died.
    """
    command = [sys.executable, "-c", _RUN_MODULE, module, *sys.path]
    environment = os.environ | ({"NQ_ISA": isa} if isa else {})
    child = subprocess.run(command, input=json.dumps(job), env=environment, capture_output=True, text=True, check=False)
    try:
        answer: Job = json.loads(child.stdout)
    except json.JSONDecodeError:
        words = " / ".join(child.stderr.strip().splitlines()[-3:])
        got = f"exit code {child.returncode}: {words}"
        raise NqError(f"child process ({job['job']})", expected="an answer", got=got) from None
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    return answer


def answer_job(handlers: Mapping[str, Callable[[Job], Job]]) -> None:
    """The child's side of `run_in_child`: whatever the job itself prints goes to stderr."""
    try:
        job: Job = json.load(sys.stdin)
    except ValueError:
        sys.exit("error: this module only answers jobs on stdin for other commands; see models/README.md for those.")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        answer = handlers[job.pop("job")](job)
    except NqError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    with answers:
        json.dump(answer, answers)
