"""A small graph of what groups of scales are for: a table that is looked up and multiplied by, and a dense layer."""

from __future__ import annotations

import numpy as np
from graphs import Graph

from nq_tflite.graph.flatbuffer import schema

ROWS, WIDTH = 100, 128


def tied_graph(rows: int = ROWS, width: int = WIDTH, seed: int = 3) -> bytes:
    """Indices [4] to rows of a table, a dense layer, and products with all rows; groups differ by far in size."""
    rng, graph = np.random.default_rng(seed), Graph()
    indices = graph.input((4,), dtype=np.int32)
    sizes = np.repeat(np.exp(rng.normal(-3, 1.5, (rows, width // 32))), 32, axis=1)
    values = np.pad(sizes, ((0, 0), (0, width % 32)), constant_values=0.1) * rng.normal(size=(rows, width))
    values[5, :32] = 0  # a group of zeros
    values[7] = 0  # a channel of zeros
    table = graph.constant(values.astype(np.float32))
    dense = graph.constant(rng.normal(size=(width, width)).astype(np.float32))
    bias = graph.constant(rng.normal(size=width).astype(np.float32))
    looked = graph.add(
        "GATHER", [table, indices], (4, width), dtype=np.float32, version=2, options=schema.GatherOptionsT()
    )
    options = schema.FullyConnectedOptionsT()
    hidden = graph.add(
        "FULLY_CONNECTED", [looked, dense, bias], (4, width), dtype=np.float32, version=6, options=options
    )
    out = graph.add("FULLY_CONNECTED", [hidden, table, -1], (4, rows), dtype=np.float32, version=6, options=options)
    return graph.build([looked, out])
