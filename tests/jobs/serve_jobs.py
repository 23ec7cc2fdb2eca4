"""Answers jobs that `arm64.EmulatedWorker` sends: pickled calls come in on stdin, pickled answers go out on stdout."""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any, BinaryIO


def serve(calls: BinaryIO, answers: BinaryIO) -> None:
    """Runs calls (function, arguments, keywords), pickled twice; answers (result, None) or (None, error)."""
    while True:
        try:
            call = pickle.load(calls)  # noqa: S301 - the parent process's
        except EOFError:
            return
        answer: tuple[Any, BaseException | None]
        try:
            function, arguments, keywords = pickle.loads(call)  # noqa: S301 - imports what it names, and may fail
            answer = function(*arguments, **keywords), None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the parent raises it again
            answer = None, error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a runtime prints is no answer
    serve(sys.stdin.buffer, answers)
