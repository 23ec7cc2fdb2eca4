"""Every option of the runtimes' Interpreters: none changes what a nested model computes, or what can be read of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import option_jobs
import pytest

import nq_tflite as nq
from nq_tflite.format.levels import signal_to_noise_db

#: Of int8 codes from another kernel, or of floats from kernels at dynamic range; and of floats otherwise.
OTHER_KERNELS_DB, FLOAT_DB = 30.0, 100.0

PARTED = "an option of the runtime parts its operators"


@pytest.fixture(scope="module")
def models(made_once: Any, stock_dir: Path) -> Path:
    """The mixed net, {int8,float}.tflite nested, and as {int8,float}_full.tflite its full-bit model extracted."""

    def make(folder: Path) -> None:
        for kind in ("int8", "float"):
            nq.convert(stock_dir / f"{kind}.tflite", folder / f"{kind}.tflite", "8|5", rounding="nearest")
            nq.extract(folder / f"{kind}.tflite", folder / f"{kind}_full.tflite", "full")

    return made_once("mixed_net_nearest", make)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("kind", ["int8", "float"])
def test_no_option_changes_the_outputs(worker: Any, models: Path, samples: np.ndarray, kind: str, fuse: bool) -> None:
    found = worker(option_jobs.outputs_by_options, models / f"{kind}.tflite", samples[:1], fuse=fuse)
    plain = found.pop("none")
    assert {"AUTO", "BUILTIN_REF", "experimental_preserve_all_tensors", "all switches"} <= set(found)
    for name, run in found.items():
        np.testing.assert_array_equal(run.stock_outputs, run.outputs, err_msg=name)
        if fuse and run.num_fused == plain.num_fused and kind == "int8":
            np.testing.assert_array_equal(run.outputs, plain.outputs, err_msg=name)
        least = FLOAT_DB if kind == "float" and run.num_fused == plain.num_fused else OTHER_KERNELS_DB
        for got, wanted in zip(run.outputs, plain.outputs, strict=True):
            assert signal_to_noise_db(wanted, got) >= least, name
        assert run.num_fused == plain.num_fused or PARTED in run.summary, name


def test_the_first_of_two_delegates_has_the_weights(worker: Any, models: Path, samples: np.ndarray) -> None:
    path = models / "int8.tflite"
    found = worker(option_jobs.outputs_of_delegates, path, samples[:1])
    [full, part] = worker(option_jobs.outputs_by_options, path, samples[:1], fuse=True)["none"].outputs
    np.testing.assert_array_equal(found["behind another"], full)
    for name in ("alone", "before another", "with custom operators"):
        np.testing.assert_array_equal(found[name], part, err_msg=name)


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (
            {"experimental_preserve_all_tensor": True},
            ["got 'experimental_preserve_all_tensor'", "Did you mean 'experimental_preserve_all_tensors'?"],
        ),
        (
            {"experimental_op_resolver_type": option_jobs.OpResolverType.AUTO},
            [
                "interpreter.OpResolverType, the type of ",
                "got option_jobs.OpResolverType.AUTO",
                "Or choose its runtime ",
            ],
        ),
        ({"experimental_op_resolver_type": "AUTO"}, ["interpreter.OpResolverType, the type of ", "got 'AUTO'"]),
    ],
)
def test_an_option_that_the_runtime_has_not(
    worker: Any, models: Path, options: dict[str, Any], messages: list[str]
) -> None:
    told = worker(option_jobs.error_of, models / "int8.tflite", **options)
    assert "expected" in told
    assert [each for each in messages if each not in told] == []


@pytest.mark.parametrize("through", ["nq.Interpreter", "the stock interpreter", "the stock interpreter, fused"])
@pytest.mark.parametrize("kind", ["int8", "float"])
def test_kept_tensors_are_the_stock_models(
    worker: Any, models: Path, samples: np.ndarray, kind: str, through: str
) -> None:
    """Weights among them. What a fused partition computes within cannot be read: it never reads as something else."""
    stock, fuse = through != "nq.Interpreter", through.endswith("fused") or None
    path = models / f"{kind}.tflite"
    wanted = worker(option_jobs.named_tensors, models / f"{kind}_full.tflite", samples[:1], nested=False)
    got = worker(option_jobs.named_tensors, path, samples[:1], fuse=fuse, stock=stock)
    compared = 0
    for name, values in wanted.items():
        if name not in got or (fuse and got[name] is None):
            continue
        compared += 1
        assert got[name] is not None, name
        if kind == "int8" and not fuse:
            np.testing.assert_array_equal(got[name], values, err_msg=name)
        else:
            assert signal_to_noise_db(values, got[name]) >= (OTHER_KERNELS_DB if fuse else FLOAT_DB), name
    assert compared >= (2 if fuse else len(wanted) - 2)
