"""Hypothesis strategies for nestings and codes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nq_tflite.format.bitpack import Layout
from nq_tflite.format.nesting import Nesting

nestings = st.sets(st.integers(2, 8), min_size=2, max_size=7).map(
    lambda bits: Nesting(tuple(sorted(bits, reverse=True)))
)
layouts = st.sampled_from(list(Layout))
#: Around the borders of blocks and superblocks.
sizes = st.one_of(st.integers(1, 9), st.sampled_from([15, 16, 17, 31, 32, 33, 63, 64, 65, 70]))


@st.composite
def coded(draw: st.DrawFn) -> tuple[Nesting, np.ndarray]:
    """A nesting and int8 codes [channels, depth] that it can hold."""
    nesting = draw(nestings)
    limit = (1 << (nesting.full_bits - 1)) - 1
    shape = draw(sizes), draw(sizes)
    small = draw(hnp.arrays(np.int8, shape, elements=st.integers(-limit, limit)))
    return nesting, (small.astype(np.int16) << (8 - nesting.full_bits)).astype(np.int8)
