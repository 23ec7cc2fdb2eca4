"""Runs a reader of readers.py under atheris:

python tests/fuzz/fuzz_readers.py nested -max_total_time=3600 new/ kept/

Options and folders are libFuzzer's: https://llvm.org/docs/LibFuzzer.html. New inputs go to the first folder.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["nq_tflite"]):
        from readers import READERS

    _, name, *options = sys.argv
    if name not in READERS:
        sys.exit(f"no reader {name!r}; expected one of {', '.join(READERS)}")
    atheris.Setup([name, *options], READERS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
