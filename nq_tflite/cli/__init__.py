"""The command line: formats what the library returns. The only room where click and rich are imported."""

from __future__ import annotations

import click

from nq_tflite.cli.benchmark_command import benchmark
from nq_tflite.cli.console import NqGroup
from nq_tflite.cli.convert_command import convert
from nq_tflite.cli.delivery_commands import join, receive, split
from nq_tflite.cli.demo_command import demo
from nq_tflite.cli.evaluate_command import evaluate
from nq_tflite.cli.extract_command import extract
from nq_tflite.cli.inspect_command import inspect
from nq_tflite.cli.profile_command import profile
from nq_tflite.cli.report_command import report
from nq_tflite.cli.simulate_command import simulate
from nq_tflite.cli.storage_command import storage
from nq_tflite.cli.watch_command import watch
from nq_tflite.version import __version__

_EPILOG = """\b
Examples:
  nq-tflite demo
  nq-tflite convert model.keras model.tflite --nesting '8|5' \\
      --representative samples.npy
  nq-tflite inspect model.tflite
  nq-tflite COMMAND --help

\b
Exit codes: 0 success, 1 failure, 2 bad usage, 130 interrupted.
Completion: eval "$(_NQ_TFLITE_COMPLETE=bash_source nq-tflite)" in ~/.bashrc; zsh_source, fish_source too."""


@click.group(cls=NqGroup, epilog=_EPILOG)
@click.version_option(__version__, prog_name="nq-tflite")
def nq_tflite() -> None:
    """NestQuant for TensorFlow Lite: one file, several precisions, switched at run time."""


nq_tflite.add_section("Start here", demo, convert, inspect)
nq_tflite.add_section("Measure", evaluate, benchmark, profile, report, storage)
nq_tflite.add_section("Switch by what the device can spare", watch, simulate)
nq_tflite.add_section("Deliver", extract, split, join, receive)

__all__ = ["nq_tflite"]
