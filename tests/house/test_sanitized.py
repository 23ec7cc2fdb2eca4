"""Whether a sanitized library watches what jobs do: `make sanitize-python` relies on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sanitized_jobs as jobs


def test_a_write_beyond_the_end_is_found(worker: Any, library: Path | None, nested_dir: Path) -> None:
    if library is None:
        pytest.skip("needs --library with a library built with AddressSanitizer")
    printed = worker(jobs.write_beyond_the_end, nested_dir / "int8_8_5.tflite")
    assert "AddressSanitizer: heap-buffer-overflow" in printed
