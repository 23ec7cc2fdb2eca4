"""Jobs that ask what runs where: fused or unpacked, in how many partitions, with which tensors in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jobs import builtin_kernels, feed_batch, isa_forced, open_nested

import nq_tflite as nq
from nq_tflite.graph.nested import read_nested


def delegation(
    runtime: str, source: Path | bytes, *, isa: str = "", batches: Sequence[int] = (1,), **options: Any
) -> list[nq.Delegation]:
    """What runs where, after an invocation of each batch in turn; [] if the machine lacks the ISA."""
    with isa_forced(isa) as has_isa:
        if not has_isa:
            return []
        interpreter = open_nested(runtime, source, **options)
    details = interpreter.get_input_details()[0]
    found = []
    for batch in batches:
        feed_batch(interpreter, np.zeros([batch, *details["shape"][1:]], details["dtype"]))
        found.append(interpreter.delegation)
    return found


def allocated_weights(runtime: str, path: Path, *, fuse: bool) -> int:
    """How many weight tensors the runtime has given memory."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=fuse)
    interpreter.allocate_tensors()
    interpreter.invoke()
    names = {weight.name for weight in read_nested(path).weights}
    allocated = 0
    for detail in interpreter.get_tensor_details():
        if detail["name"] in names:
            try:
                interpreter.get_tensor(detail["index"])
                allocated += 1
            except ValueError:
                pass
    return allocated


def is_one_partition(runtime: str, path: Path) -> bool:
    """Whether the delegate runs the whole graph as one node: from its inputs to all of its outputs."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=True, **builtin_kernels(runtime))
    interpreter.allocate_tensors()
    operators = interpreter._get_ops_details()
    delegates = [o for o in operators if o["op_name"] in ("DELEGATE", "NqPartition")]
    computed = {int(t) for o in operators for t in o["outputs"]}
    if len(delegates) != 1 or computed & set(map(int, delegates[0]["inputs"])):
        return False
    return {int(d["index"]) for d in interpreter.get_output_details()} <= set(map(int, delegates[0]["outputs"]))


def prepare_for(runtime: str, path: Path, shape: tuple[int, ...]) -> None:
    """Resizes the input; XNNPACK, which would be the first to complain, is kept out."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=True, **builtin_kernels(runtime))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], shape)
    interpreter.allocate_tensors()
