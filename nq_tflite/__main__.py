"""`nq-tflite` and `python -m nq_tflite`: checks that the command line's packages are there and hands over to `cli`."""

from __future__ import annotations

import os
import sys

from nq_tflite.errors import how_to_install

_CLI_PACKAGES = ("click", "rich")


def main() -> None:
    """Runs the command line; exits with 0 on success only."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # counts if set before tensorflow is first imported
    try:
        from nq_tflite.cli import nq_tflite
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in _CLI_PACKAGES:
            raise
        package = error.name.split(".")[0]
        print(f"error: the package {package} is not installed. Install it: {how_to_install('cli')}.", file=sys.stderr)
        sys.exit(1)
    nq_tflite(prog_name="nq-tflite")


if __name__ == "__main__":
    main()
