"""What a .tflite file records about its making: TFLite's conversion metadata, a flatbuffer in one of its buffers."""

from __future__ import annotations

import struct

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.model import ModelT

METADATA_NAME = "CONVERSION_METADATA"
#: ModelOptimizationMode of conversion_metadata.fbs: what a converter did to the weights of a trained float model.
_AFTER_TRAINING = {1001, 1002, 1003, 1004}
#: Numbers of fields: ConversionMetadata's options, and ConversionOptions' modes.
_OPTIONS, _MODES = 1, 0


def is_quantized_after_training(model: ModelT) -> bool:
    """Whether the file says that its codes were rounded from a float model's weights, and not trained as codes.

    Tensorflow writes so; other converters say nothing.
    """
    modes: set[int] = set()
    for entry in model.metadata or []:
        data = model.buffers[entry.buffer].data
        if fb.text(entry.name) == METADATA_NAME and data is not None:
            modes |= _modes(bytes(data))
    return bool(modes) and modes <= _AFTER_TRAINING


def _modes(data: bytes) -> set[int]:
    """Those that metadata name; none where they are cut or spoiled, for nothing hangs on them but the rounding."""
    try:
        [root] = struct.unpack_from("<I", data)
        options = _field(data, root, _OPTIONS)
        modes = None if options is None else _field(data, options, _MODES)
        if modes is None:
            return set()
        [count] = struct.unpack_from("<I", data, modes)
        return set(struct.unpack_from(f"<{min(count, len(data))}i", data, modes + 4))
    except struct.error:
        return set()


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where the table or vector begins that a field of a table points to; None if the table lacks it."""
    [to_fields] = struct.unpack_from("<i", data, table)
    fields = table - to_fields
    if fields < 0:
        return None
    [size] = struct.unpack_from("<H", data, fields)
    slot = 4 + 2 * number
    [offset] = struct.unpack_from("<H", data, fields + slot) if slot < size else [0]
    if not offset:
        return None
    [distance] = struct.unpack_from("<I", data, table + offset)
    return int(table + offset + distance)
