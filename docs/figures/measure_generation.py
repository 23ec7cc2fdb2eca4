"""`python docs/figures/measure_generation.py smollm2.tflite`: a language model that switches twice as it answers.

Notes of each token how long it took and what the model, its cache of keys and values included, adds to this process.
It goes to generation.json, which a figure of docs/language_model.md is drawn from.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from nq_tflite_models.chat import Conversation
from nq_tflite_models.measure.token_model import read_tokenizer

import nq_tflite as nq
from nq_tflite.device.native import load_library
from nq_tflite.device.runtimes import load_runtime
from nq_tflite.measure.benchmark import cpu_name
from nq_tflite.measure.resident import resident_memory

QUESTION, TOKENS = "Why is the sky blue?", 60
SWITCHES = {20: "part", 40: "full"}
RESULT = Path(__file__).with_name("generation.json")


def measure(path: Path) -> dict[str, Any]:
    """Of each token its seconds, and the bytes held after it; of each switch the tokens before it, bytes, seconds.

    The first token's seconds are those of reading the question.
    """
    tokenizer = read_tokenizer(path)
    load_runtime(None)
    load_library()
    resident_memory(path)  # what measuring itself takes from the heap is not the model's
    before = resident_memory(path).held
    interpreter = nq.Interpreter(path, precision="full", num_threads=1)
    result: dict[str, Any] = {"bits": [interpreter.precision], "memory": [], "switches": [], "seconds": []}
    start = time.monotonic()
    for count, _ in enumerate(Conversation(interpreter, tokenizer).answer(QUESTION, TOKENS, {}), 1):
        result["seconds"].append(round(time.monotonic() - start, 5))
        result["memory"].append(resident_memory(path).held - before)
        if count in SWITCHES:
            switch = interpreter.switch(SWITCHES[count])
            result["switches"].append([count, switch.bytes_moved, switch.seconds])
            result["bits"].append(interpreter.precision)
        start = time.monotonic()
    return result


def main(path: Path) -> None:
    """Measures, prints, and writes the result."""
    measured = measure(path)
    edges = [0, *SWITCHES, TOKENS]
    for bits, start, end in zip(measured["bits"], edges[:-1], edges[1:], strict=True):
        held = [each / 1e6 for each in measured["memory"][start:end]]
        pace = 1e3 * median(measured["seconds"][start:end])
        print(f"{bits} bits, tokens {start + 1} to {end}: {min(held):.1f} to {max(held):.1f} MB, {pace:.1f} ms a token")
    for count, moved, seconds in measured["switches"]:
        print(f"switch after {count} tokens: {moved / 1e6:.2f} MB in {1e3 * seconds:.2f} ms")
    RESULT.write_text(json.dumps({"model": "SmolLM2-135M 8|4", "cpu": cpu_name()} | measured) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
