"""Drops tensors, buffers and operator codes that nothing refers to any more."""

from __future__ import annotations

from copy import copy

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.model import ModelT, SignatureDefT, SubGraphT, TensorT


def prune(model: ModelT) -> None:
    """Renumbers what remains; buffer 0 stays, as the schema demands."""
    for index, subgraph in fb.subgraphs(model):
        signatures = [s for s in model.signatureDefs or [] if s.subgraphIndex == index]
        _prune_tensors(subgraph, signatures)
    _prune_operator_codes(model)
    _prune_buffers(model)


def _prune_tensors(subgraph: SubGraphT, signatures: list[SignatureDefT]) -> None:
    maps = [entry for s in signatures for entry in [*(s.inputs or []), *(s.outputs or [])]]
    used = {*fb.indices(subgraph.inputs), *fb.indices(subgraph.outputs), *(entry.tensorIndex for entry in maps)}
    for operator in subgraph.operators:
        used.update(fb.indices(operator.inputs), fb.indices(operator.outputs), fb.indices(operator.intermediates))
    used |= {index for tensor in list(used) if tensor >= 0 for index in _of_blocks(subgraph.tensors[tensor])}
    kept = [index for index in range(len(subgraph.tensors)) if index in used]
    new = {old: position for position, old in enumerate(kept)} | {-1: -1}
    subgraph.tensors = [subgraph.tensors[index] for index in kept]
    subgraph.inputs = [new[i] for i in fb.indices(subgraph.inputs)]
    subgraph.outputs = [new[i] for i in fb.indices(subgraph.outputs)]
    for operator in subgraph.operators:
        operator.inputs = [new[i] for i in fb.indices(operator.inputs)]
        operator.outputs = [new[i] for i in fb.indices(operator.outputs)]
        if operator.intermediates is not None:
            operator.intermediates = [new[i] for i in fb.indices(operator.intermediates)]
    for entry in maps:
        entry.tensorIndex = new[entry.tensorIndex]
    for tensor in subgraph.tensors:
        if _of_blocks(tensor) and tensor.quantization is not None:
            details = copy(tensor.quantization.details)
            details.scales, details.zeroPoints = new.get(details.scales, -1), new.get(details.zeroPoints, -1)
            tensor.quantization = copy(tensor.quantization)
            tensor.quantization.details = details


def _of_blocks(tensor: TensorT) -> list[int]:
    """Tensors with the scales and zero points of a tensor's blocks, by index."""
    details = getattr(tensor.quantization, "details", None)
    return [index for name in ("scales", "zeroPoints") if (index := getattr(details, name, -1)) >= 0]


def _prune_operator_codes(model: ModelT) -> None:
    operators = [op for _, subgraph in fb.subgraphs(model) for op in subgraph.operators]
    kept = sorted({operator.opcodeIndex for operator in operators})
    model.operatorCodes = [model.operatorCodes[index] for index in kept]
    for operator in operators:
        operator.opcodeIndex = kept.index(operator.opcodeIndex)


def _prune_buffers(model: ModelT) -> None:
    tensors = [tensor for _, subgraph in fb.subgraphs(model) for tensor in subgraph.tensors]
    metadata_indices = fb.indices(model.metadataBuffer)
    used = {0, *(t.buffer for t in tensors), *(m.buffer for m in model.metadata or []), *metadata_indices}
    kept = sorted(index for index in used if index < len(model.buffers))
    new = {old: position for position, old in enumerate(kept)}
    model.buffers = [model.buffers[index] for index in kept]
    for tensor in tensors:
        tensor.buffer = new[tensor.buffer]
    for entry in model.metadata or []:
        entry.buffer = new[entry.buffer]
    if model.metadataBuffer is not None:
        model.metadataBuffer = [new[index] for index in metadata_indices]
