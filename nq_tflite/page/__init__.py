"""A nested model on one HTML page that needs no other file and no network."""

from __future__ import annotations

from nq_tflite.page.findings import Findings
from nq_tflite.page.write import write_report

__all__ = ["Findings", "write_report"]
