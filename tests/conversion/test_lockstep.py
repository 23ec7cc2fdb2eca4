"""The float net and every level's, side by side: what rounding hears of a layer's inputs, and of the result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph

from nq_tflite.conversion.lockstep import Lockstep
from nq_tflite.conversion.observer import Constant, Constants
from nq_tflite.conversion.plan import make_plan
from nq_tflite.conversion.rounding import METHODS
from nq_tflite.conversion.sources.pairing import pair_weights
from nq_tflite.conversion.sources.source import Reference
from nq_tflite.conversion.walk import GraphWalk
from nq_tflite.device.runtimes import Runtime, walking_runtime
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import InputSlot
from nq_tflite.graph.sites import Site, find_sites

NESTING = Nesting.parse("8|4")


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return walking_runtime()


def itself(model: Any) -> Reference:
    """A model as its own reference."""
    places = [site.place for group in find_sites(model)[0] for site in group]
    return Reference(model, dict(zip(places, places, strict=True)), {})


def sites_of(model: Any) -> list[Site]:
    return [site for [site] in find_sites(model)[0]]


def start(
    model: Any,
    reference: Reference,
    samples: list[list[np.ndarray]],
    num_levels: int,
    runtime: Runtime,
    held_out: int = 0,
) -> Lockstep:
    levels = [GraphWalk(model, samples, runtime) for _ in range(num_levels)]
    return Lockstep(model, reference, GraphWalk(reference.model, samples, runtime), levels, held_out)


def in_place(site: Site, weight: np.ndarray, bias: np.ndarray | None = None) -> Constants:
    """A float layer's weight, and its bias if that changes."""
    [position] = site.operators
    found = {InputSlot(position, 1): Constant(weight)}
    return found if bias is None else found | {InputSlot(position, 2): Constant(bias)}


def arrays(samples: np.ndarray, count: int = 8) -> list[list[np.ndarray]]:
    return [[samples[k : k + 1]] for k in range(count)]


@pytest.fixture
def float_model(float_tflite: bytes) -> Any:
    return fb.read_model(float_tflite).model


def test_a_net_that_nothing_was_rounded_in(float_model: Any, runtime: Runtime, samples: np.ndarray) -> None:
    lockstep = start(float_model, itself(float_model), arrays(samples), 2, runtime)
    for site in sites_of(float_model):
        statistics = lockstep.observe(site, covariances=True)
        assert len(statistics) == 2
        for each in statistics:
            assert not each.drift.any()
            assert each.quadratic is not None
            assert each.quadratic.hessian.shape == (*each.mean.shape, each.mean.shape[1])
    for outcome in lockstep.outcomes():
        assert (outcome.agreement, outcome.snr_db) == (1.0, float("inf"))
    assert lockstep.stopped is None


def test_what_became_of_a_layer_changes_the_next_ones_inputs(
    float_model: Any, runtime: Runtime, samples: np.ndarray
) -> None:
    """At that level alone, and the bias as much as the weight."""
    first, second = sites_of(float_model)[:2]
    weight = fb.constant(float_model, float_model.subgraphs[0].tensors[first.tensor])
    assert weight is not None
    silent = [np.zeros_like(weight), weight]
    seven = np.full(weight.shape[0], 4, np.float32)
    bias_tensor = fb.indices(float_model.subgraphs[0].operators[first.operators[0]].inputs)[2]
    bias = fb.constant(float_model, float_model.subgraphs[0].tensors[bias_tensor])
    lockstep = start(float_model, itself(float_model), arrays(samples), 2, runtime)
    lockstep.observe(first, covariances=False)
    lockstep.settle(first, [in_place(first, *each) for each in zip(silent, [seven, bias], strict=True)])
    part, full = lockstep.observe(second, covariances=False)
    assert part.quadratic is None
    np.testing.assert_array_equal(full.drift, 0)
    inside = (part.mean + 2 * part.drift).reshape(-1, weight.shape[0])
    np.testing.assert_allclose(inside[4], 4, rtol=1e-5)  # the middle tap: none of its rows are padding
    assert lockstep.outcomes()[0].snr_db < lockstep.outcomes()[1].snr_db == float("inf")


@pytest.mark.slow
def test_an_int8_net_beside_its_float_original(
    int8_tflite: bytes, float_model: Any, runtime: Runtime, samples: np.ndarray
) -> None:
    model = fb.read_model(int8_tflite).model
    reference = Reference(float_model, pair_weights(float_model, model), {})
    lockstep = start(model, reference, arrays(samples), 2, runtime)
    sources = reference.sources(model)
    assert sources.keys() == {(site.subgraph, site.tensor) for site in sites_of(model)}
    plan = make_plan(model, NESTING, METHODS["descent"], lockstep, sources=sources)
    assert "descent" in {weight.rounding for weight in plan.weights}
    assert all(weight.level_biases is not None for weight in plan.weights)
    part, full = lockstep.outcomes()
    assert 5 < part.snr_db < full.snr_db < 60


def test_held_out_samples_serve_outcomes_alone(float_model: Any, runtime: Runtime, samples: np.ndarray) -> None:
    """Statistics are those without them; their outcomes are those of them."""
    given, [site, *_] = arrays(samples, 10), sites_of(float_model)
    pairs = [(given, 4), (given[:6], 0), (given[6:], 0)]
    both, fitted, judged = (
        start(float_model, itself(float_model), each, 1, runtime, held_out=count) for each, count in pairs
    )
    np.testing.assert_array_equal(
        both.observe(site, covariances=False)[0].mean, fitted.observe(site, covariances=False)[0].mean
    )
    weight = fb.constant(float_model, float_model.subgraphs[0].tensors[site.tensor])
    assert weight is not None
    for each in (both, judged):
        each.settle(site, [in_place(site, weight * 0.9)])
    [among], [alone] = both.outcomes(), judged.outcomes()
    assert (among.agreement, among.snr_db) == (alone.agreement, alone.snr_db)


def test_an_operator_that_cannot_be_walked_ends_the_statistics(runtime: Runtime) -> None:
    """What comes before it has some; the others fall back, and the reason is told."""
    graph, size = Graph(), (1, 4, 4, 64)
    x = graph.input(size, scale=0.05)
    y = graph.convolution(x, size, 64, seed=1, scale=0.1, zero_point=0)
    z = graph.add("IF", [y, y], size, scale=0.1, options=schema.IfOptionsT())
    model = fb.read_model(graph.build([graph.convolution(z, size, 64, seed=2, scale=0.1, zero_point=0)])).model
    inputs = np.random.default_rng(1).normal(size=(3, *size)).astype(np.float32)
    lockstep = start(model, itself(model), [[each] for each in inputs], 2, runtime)
    plan = make_plan(model, NESTING, METHODS["descent"], lockstep)
    assert [weight.level_biases is None for weight in plan.weights] == [False, True]
    assert "operator IF" in lockstep.stopped
    assert lockstep.outcomes() == ()


def test_agreement_needs_a_row_of_scores(runtime: Runtime) -> None:
    graph, size = Graph(), (1, 4, 4, 8)
    x = graph.input(size, scale=0.05)
    y = graph.convolution(x, size, 8, seed=1, scale=0.1, zero_point=0)
    model = fb.read_model(graph.build([y])).model
    inputs = np.random.default_rng(1).normal(size=(1, *size)).astype(np.float32)
    [outcome] = start(model, itself(model), [[inputs[0]]], 1, runtime).outcomes()
    assert outcome.agreement is None
