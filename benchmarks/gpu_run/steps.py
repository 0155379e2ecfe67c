"""The steps on a machine with a GPU, what matters most first.

Expected seconds are of one H200 where they were measured (engines, full-width graphs, frames), of 2
cores for the export, and estimates elsewhere.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gpu_run.needs import (
    BINDINGS,
    EXPORT,
    GPU,
    GRAPHS,
    ORT_CUDA,
    TENSORRT,
    TENSORRT_RTX,
    TORCH_CUDA,
    checkout,
)
from gpu_run.places import ROOT, Places
from gpu_run.step import Need, Step

__all__ = ["GPU_TESTS", "copied_bundle", "edge", "gpu_steps", "python", "script"]

GPU_TESTS = (
    "tests/runtime/backends/test_gpu.py",
    "tests/runtime/backends/test_steps.py",
    "tests/runtime/backends/engines/building/test_engine_run.py",
)
"""By name: to collect all tests takes packages that a GPU machine may lack."""
NOT_AGAIN = "not test_a_bundle_is_verified_on_a_gpu"
"""Left out of them: it exports a model, which takes a library for video, and builds six engines of
it, minutes long. Other steps hold such engines to the golden stream."""
OPTIMIZATION = "2"
"""Of TensorRT: about half of the building time that its default takes."""


def python(*arguments: str) -> tuple[str, ...]:
    """A command of this interpreter."""
    return (sys.executable, *arguments)


def edge(*arguments: str) -> tuple[str, ...]:
    """A command of the toolkit."""
    return python("-m", "vidtok_edge.cli", *arguments)


def script(name: str, *arguments: str) -> tuple[str, ...]:
    """A script of this folder's parent."""
    return python(str(ROOT / "benchmarks" / name), *arguments)


def gpu_steps(places: Places, given: Path | None) -> list[Step]:
    """All steps; `given` is a bundle of the embedded model to take in place of an export."""
    return [
        *_first(places, given),
        _ceilings(places),
        *_engines(places, "tensorrt", TENSORRT, "fp16", expected_s=120),
        _device_frames(places),
        _trials(places),
        _captured_copies(places),
        _bench_torch(places, "bench-torch-cuda", None, expected_s=40),
        _bench_torch(places, "bench-torch-graphs", "reduce-overhead", expected_s=120),
        _prove_cuda(places),
        _bench(places, "cuda", ORT_CUDA, "fp16,fp32", after="bundle", expected_s=70),
        _checks(places, "checks", "gpu_checks on the embedded model", ("--seconds", "60"), 90),
        _tests(places),
        _bench_torch(places, "bench-torch-compiled", "default", expected_s=100),
        *_engines(places, "tensorrt-rtx", TENSORRT_RTX, "fp16", expected_s=60),
        _paced(places, "tensorrt", TENSORRT, after="engines-tensorrt-fp16"),
        _paced(places, "cuda", ORT_CUDA, after="bundle"),
        *_full(places),
        *_engines(places, "tensorrt", TENSORRT, "int8", expected_s=110),
        *_engines(places, "tensorrt", TENSORRT, "fp32", expected_s=110),
    ]


def copied_bundle(places: Places, given: Path) -> Step:
    """A copy, so that engines and proofs do not change what was given."""
    code = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"
    return Step(
        name="bundle",
        what="the bundle that --bundle names, copied",
        command=python("-c", code, str(given), str(places.bundle)),
        expected_s=2,
        limit_s=60,
    )


def _first(places: Places, given: Path | None) -> list[Step]:
    doctor = Step(
        name="doctor",
        what="what this machine has and lacks",
        command=edge("doctor"),
        expected_s=10,
        limit_s=30,
        environment=places.environment,
    )
    if given is not None:
        return [doctor, copied_bundle(places, given)]
    command = ("export", "--variant", "fsq", "--precision", "fp32,fp16,int8", "--form", "conv2d")
    export = Step(
        name="bundle",
        what="the embedded model, 256x256, three precisions, verified on the CPU",
        command=edge(*command, "--output", str(places.bundle)),
        expected_s=90,
        limit_s=200,
        needs=(EXPORT,),
        environment=places.environment,
    )
    return [doctor, export]


def _engines(
    places: Places, target: str, need: Need, precision: str, *, expected_s: float
) -> list[Step]:
    """Engines, which prove themselves, and their speed."""
    name = f"engines-{target}-{precision}"
    options = ("--optimization", OPTIMIZATION) if target == "tensorrt" else ()
    build = Step(
        name=name,
        what=f"engines in {precision} of the embedded model by {target}, which prove themselves",
        command=edge(
            "build", str(places.bundle), "--target", target, "--precision", precision, *options
        ),
        expected_s=expected_s,
        limit_s=2 * expected_s,
        needs=(GPU, need),
        after=("bundle",),
        leaves_at=frozenset({0, 1}),
        environment=places.environment,
    )
    bench = _bench(places, target, need, precision, after=name, expected_s=40)
    return [build, bench]


def _bench(
    places: Places, backend: str, need: Need, precision: str, *, after: str, expected_s: float
) -> Step:
    name = f"bench-{backend}-{precision.replace(',', '-')}"
    return Step(
        name=name,
        what=f"speed of {backend}, {precision}, encode and decode, saturated",
        command=edge(
            *("bench", str(places.bundle), "--backend", backend, "--precision", precision),
            *("--decode", "--rounds", "3", "--seconds", "6", "--warmup", "1"),
            *("--json", str(places.found(name))),
        ),
        expected_s=expected_s,
        limit_s=3 * expected_s,
        needs=(GPU, need),
        after=(after,),
        environment=places.environment,
    )


def _bench_torch(places: Places, name: str, mode: str | None, *, expected_s: float) -> Step:
    """Beside what `auto` takes, which is TensorRT where there are engines by now.

    `mode`: of torch.compile, or None: eager. One in each step, for `bench` tries all that it
    measures first, and ends where one fails. It compiles in the trial, and again in the turn, from
    the compilers' cache.
    """
    options = ("--torch",) if mode is None else ("--torch-compile", "--compile-mode", mode)
    how = "eager" if mode is None else f"compiled ({mode})"
    return Step(
        name=name,
        what=f"speed of PyTorch on the GPU, {how}, fp16, beside what auto takes",
        command=edge(
            *("bench", str(places.bundle), "--backend", "auto", "--precision", "fp16"),
            *options,
            *("--torch-device", "cuda", "--decode"),
            *("--rounds", "1", "--seconds", "4", "--warmup", "1"),
            *("--json", str(places.found(name))),
        ),
        expected_s=expected_s,
        limit_s=2.5 * expected_s,
        needs=(GPU, TORCH_CUDA, GRAPHS),
        after=("bundle",),
        environment=places.environment,
    )


def _device_frames(places: Places) -> Step:
    return Step(
        name="device-frames",
        what="frames and tokens that stay on the GPU or are shared: equal, and what a push costs",
        command=script(
            *("device_frames.py", str(places.bundle), str(places.found("device-frames"))),
            *("--backend", "tensorrt", "--precision", "fp16"),
        ),
        expected_s=30,
        limit_s=80,
        needs=(GPU, TENSORRT, TORCH_CUDA),
        after=("engines-tensorrt-fp16",),
        environment=places.environment,
    )


def _captured_copies(places: Places) -> Step:
    return Step(
        name="captured-copies",
        what="copies of frames and tokens inside the CUDA graph: equal, and what a call then takes",
        command=script(
            *("captured_copies.py", str(places.bundle), str(places.found("captured-copies"))),
            *("--backend", "tensorrt", "--precision", "fp16"),
        ),
        expected_s=6,
        limit_s=30,
        needs=(GPU, TENSORRT),
        after=("engines-tensorrt-fp16",),
        environment=places.environment,
    )


def _trials(places: Places) -> Step:
    """Two to four engines are reached; those of `conv2d` are timed by the steps before."""
    names = ["embedded-encoder-conv3d-float32-sums", "embedded-encoder-conv2d-frames"]
    names += [
        f"embedded-{kind}-{form}"
        for form in ("conv3d", "channels_last", "chunk-tail", "conv2d")
        for kind in ("encoder", "decoder")
    ]
    return Step(
        name="trials",
        what="forms that might make faster engines of the embedded model, fp16, in TensorRT",
        command=script(
            *("trials.py", str(places.scratch / "trials"), "--trials", ",".join(names)),
            *("--seconds", "90", "--output", str(places.found("trials"))),
        ),
        expected_s=115,
        limit_s=220,
        needs=(GPU, TENSORRT, TORCH_CUDA, GRAPHS),
        environment=places.environment,
    )


def _paced(places: Places, backend: str, need: Need, *, after: str) -> Step:
    name = f"paced-{backend}"
    return Step(
        name=name,
        what=f"a camera of 30 frames/s on {backend}, fp16",
        command=edge(
            *("bench", str(places.bundle), "--backend", backend, "--precision", "fp16"),
            *("--decode", "--paced", "30", "--seconds", "10", "--json", str(places.found(name))),
        ),
        expected_s=32,
        limit_s=60,
        needs=(GPU, need),
        after=(after,),
        environment=places.environment,
    )


def _ceilings(places: Places) -> Step:
    return Step(
        name="ceilings",
        what="what this GPU copies and multiplies at most",
        command=script("ceilings.py", str(places.found("ceilings"))),
        expected_s=12,
        limit_s=40,
        needs=(GPU, TORCH_CUDA),
        environment=places.environment,
    )


def _prove_cuda(places: Places) -> Step:
    return Step(
        name="prove-cuda",
        what="ONNX Runtime's CUDA provider against the golden stream, all precisions",
        command=edge("prove", str(places.bundle), "--backend", "cuda"),
        expected_s=40,
        limit_s=90,
        needs=(GPU, ORT_CUDA),
        after=("bundle",),
        environment=places.environment,
    )


def _checks(
    places: Places, name: str, what: str, options: tuple[str, ...], expected_s: float
) -> Step:
    return Step(
        name=name,
        what=f"{what}: our CUDA layer, the forms, the original in PyTorch, eager and compiled",
        command=script("gpu_checks.py", str(places.found(name)), "--calls", "100", *options),
        expected_s=expected_s,
        limit_s=expected_s + 50,
        needs=(GPU, TORCH_CUDA, BINDINGS),
        environment=places.environment,
    )


def _tests(places: Places) -> Step:
    backends = {"cuda": ORT_CUDA, "tensorrt": TENSORRT, "tensorrt-rtx": TENSORRT_RTX}
    here = [name for name, need in backends.items() if not need.missing()]
    required = {"VIDTOK_EDGE_REQUIRE_GPU": ",".join(here)} if here else {}
    return Step(
        name="gpu-tests",
        what="the tests marked gpu; must run: those of " + (", ".join(here) or "no backend"),
        command=python(
            *("-m", "pytest", "-v", "-m", "gpu", "-k", NOT_AGAIN, "-p", "no:cacheprovider"),
            *("--rootdir", str(ROOT), *(str(ROOT / test) for test in GPU_TESTS)),
        ),
        expected_s=70,
        limit_s=150,
        needs=(GPU, checkout(ROOT)),
        environment={**places.environment, **required},
    )


def _full(places: Places) -> list[Step]:
    """The full-width model, random weights, fp16: nothing is verified on the CPU."""
    bundle = Step(
        name="full-bundle",
        what="graphs of the full-width model, random weights, 256x256, fp16, unverified",
        command=script("full_width.py", str(places.full.parent), "--form", "conv2d"),
        expected_s=40,
        limit_s=100,
        needs=(GRAPHS,),
        environment=places.environment,
    )
    layers = []
    for kind in ("encoder", "decoder"):
        name = f"full-tensorrt-{kind}"
        graph, found = places.full / f"{kind}.fp16.onnx", places.found(name)
        layers.append(
            Step(
                name=name,
                what=f"the full-width {kind} in TensorRT: time as a CUDA graph, layers",
                command=script(
                    "tensorrt_layers.py", str(graph), str(found), "--level", OPTIMIZATION
                ),
                expected_s=90,
                limit_s=160,
                needs=(GPU, TENSORRT, TORCH_CUDA),
                after=("full-bundle",),
                environment=places.environment,
            )
        )
    options = ("--full", "--seconds", "80")
    checks = _checks(places, "full-checks", "gpu_checks at full width", options, 95)
    return [bundle, *layers, checks]
