"""A weight as it will be stored in the nested file.

Whoever runs the net before there is a file (`walk`) and whoever writes the file (`insert_unpack`, `insert_biases`) take
values and scales from here, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.observer import Constant, Constants
from nq_tflite.format.biases import LevelBiases
from nq_tflite.format.bitpack import Layout
from nq_tflite.format.constants import OutputType
from nq_tflite.format.groups import channel_scales, spread
from nq_tflite.format.levels import Codes, value_at
from nq_tflite.format.nesting import Nesting
from nq_tflite.format.option_block import LevelOptions, OptionBlock
from nq_tflite.graph.flatbuffer import Array
from nq_tflite.graph.model import InputSlot, ModelT, OperatorT, QuantizationT, TensorPlace, TensorT
from nq_tflite.graph.quantization import bias_quantization
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.sites import Site, as_weight


@dataclass(frozen=True)
class WeightPlan:
    """What becomes of one weight.

    Attributes:
        sites: where it is read; several share one set of level buffers.
        operator, shape: name of the operator that reads it, and its shape.
        rounding: name of the method that chose the codes.
        codes: int8 [channels, depth], left-aligned.
        scales: float32 [1], [channels] or, for groups of a channel's weights, [channels, groups] as
            `format.groups.storable` gives them; real value of one code.
        target: float64 [channels, depth], the source's weights in units of their scales.
        biases: bias tensors that must change with the scales: {(subgraph, tensor): int32 [channels]}.
        level_biases: a bias for every level, in place of its one reader's (and of `biases`), in units of the scales,
            or of the channels' where groups have some.
    """

    sites: tuple[Site, ...]
    operator: str
    shape: tuple[int, ...]
    layout: Layout
    output_type: OutputType
    nesting: Nesting
    rounding: str
    codes: Codes
    scales: NDArray[np.float32]
    target: NDArray[np.float64]
    biases: dict[TensorPlace, NDArray[np.int32]]
    level_biases: LevelBiases | None = None

    def __post_init__(self) -> None:
        if self.scales.ndim > 1 and self.codes.shape[1] % self.scales.shape[1]:
            raise ValueError(f"scales of {self.name!r}: expected groups of one size, got {self.scales.shape}")
        if self.level_biases is None:
            return
        readers = sum(len(site.operators) for site in self.sites)
        if readers != 1:
            raise ValueError(f"level biases of {self.name!r}: expected a weight with one reader, got {readers}")
        shape = len(self.nesting.precisions), self.codes.shape[0]
        if self.level_biases.deltas.shape != shape:
            raise ValueError(f"level biases of {self.name!r}: expected {shape}, got {self.level_biases.deltas.shape}")
        dtype = np.float32 if self.output_type is OutputType.FLOAT32 else np.int32
        if self.level_biases.base.dtype != dtype:
            raise ValueError(f"level biases of {self.name!r}: expected {dtype}, got {self.level_biases.base.dtype}")

    @property
    def name(self) -> str:
        """The weight tensor's name."""
        return self.sites[0].name

    @property
    def group_size(self) -> int:
        """Weights of a channel that share a scale; 0 where all of them do."""
        return self.codes.shape[1] // self.scales.shape[1] if self.scales.ndim > 1 else 0

    def constants(self, model: ModelT, site: Site, level: int) -> Constants:
        """What the operators of a site read with levels 0 to `level` in use.

        Args:
            model: what the plan was made for, without operators that unpack.
        """
        found: Constants = {}
        subgraph = model.subgraphs[site.subgraph]
        weight = Constant(self._values(level), self.weight_quantization(subgraph.tensors[site.tensor]))
        for position in site.operators:
            operator = subgraph.operators[position]
            reader = slots_of(model, operator)
            found[InputSlot(position, reader.slot_of(operator, site.tensor))] = weight
            bias = self._bias(model, site, operator, level)
            if bias is not None and reader.bias is not None:
                data = subgraph.tensors[reader.data_of(operator)]
                found[InputSlot(position, reader.bias)] = Constant(bias, self.bias_quantization(data))
        return found

    def weight_quantization(self, tensor: TensorT) -> QuantizationT | None:
        """Of the weight's tensor in the file: the source's, but an INT8 one has the plan's scales."""
        if self.output_type is OutputType.FLOAT32 or tensor.quantization is None:
            return tensor.quantization
        quantization = copy(tensor.quantization)
        quantization.scale = self.scales.tolist()
        return quantization

    def bias_quantization(self, data: TensorT) -> QuantizationT | None:
        """Of the bias that a reader of `data` adds in the file; None for floats."""
        return None if self.output_type is OutputType.FLOAT32 else bias_quantization(data, self.scales)

    def rescaled_bias(self, model: ModelT, site: Site, operator: OperatorT) -> NDArray[np.int32] | None:
        """The bias of one of the site's operators in units of the plan's scales; None if those did not change it."""
        return self.biases.get(TensorPlace(site.subgraph, slots_of(model, operator).bias_of(operator)))

    def option_block(self, offsets: Sequence[int] | None = None) -> OptionBlock:
        """What the operator's options will say, with these offsets of its level buffers (all 0 while unknown)."""
        bits, biases = self.nesting.level_bits, self.level_biases
        steps = [0.0] * len(bits) if biases is None else biases.steps.tolist()
        levels = tuple(map(LevelOptions, offsets or [0] * len(bits), bits, steps))
        channels, depth = self.codes.shape
        return OptionBlock(
            layout=self.layout,
            output_type=self.output_type,
            channels=channels,
            depth=depth,
            levels=levels,
            has_bias=biases is not None,
            group_size=self.group_size,
        )

    def _values(self, level: int) -> Array:
        """In the type and shape of the weight's tensor."""
        values: Array = value_at(self.codes, self.nesting, level)
        if self.output_type is OutputType.FLOAT32:
            values = values * spread(self.scales, values.shape[1])
        return as_weight(values, self.layout, self.shape)

    def _bias(self, model: ModelT, site: Site, operator: OperatorT, level: int) -> Array | None:
        """What stands in for the source's bias; None if that stays."""
        if self.level_biases is not None:
            return self.level_biases.at(level, channel_scales(self.scales))
        return self.rescaled_bias(model, site, operator)
