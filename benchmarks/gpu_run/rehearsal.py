"""The run on a CPU, small, to try it: the fake GPU of the tests, a bundle of tiny graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gpu_run.needs import GRAPHS, checkout
from gpu_run.places import ROOT, Places
from gpu_run.step import Need, Step
from gpu_run.steps import GPU_TESTS, copied_bundle, edge, gpu_steps, python, script

__all__ = ["rehearsal_steps"]

_TINY = (
    "import sys; from pathlib import Path; from tiny_bundle import write_tiny_bundle; "
    "from tiny_golden import write_tiny_golden; folder = Path(sys.argv[1]); "
    "write_tiny_bundle(folder); write_tiny_golden(folder)"
)
_NARROW = (
    "import sys; from pathlib import Path; from full_width import VARIANT, write_form; "
    "from narrow import narrow; from vidtok_edge.lowering.facts import UNKNOWN_WEIGHTS; "
    "write_form(narrow(VARIANT, 16), UNKNOWN_WEIGHTS, 16, 'conv2d', Path(sys.argv[1]))"
)


def rehearsal_steps(places: Places, given: Path | None) -> list[Step]:
    """A step of each kind that a CPU can run; then those that need a GPU, which say so."""
    here, needs = places.environment, (checkout(ROOT),)
    # Saturated, the sums that tiny graphs make grow beyond the codebook: nothing is decoded.
    bench = ("--seconds", "0.2", "--warmup", "0.1", "--rounds", "1")

    further = {"checks": (GRAPHS,), "full-bundle": (GRAPHS,), "trials": (GRAPHS,)}

    def step(
        name: str, what: str, command: tuple[str, ...], expected_s: float, after: str = ""
    ) -> Step:
        return Step(
            name=name,
            what=f"{what}, rehearsed",
            command=command,
            expected_s=expected_s,
            limit_s=max(60, 3 * expected_s),
            needs=(*needs, *further.get(name, ())),
            after=(after,) if after else (),
            environment=here,
        )

    bundle = step("bundle", "tiny graphs", python("-c", _TINY, str(places.bundle)), 3)
    prove = ("prove", str(places.bundle), "--backend", "cpu")
    measure = ("bench", str(places.bundle), "--backend", "cpu", *bench)
    fake = ("--fake", "--size", "16", "--calls", "1", "--seconds", "3")
    tried = ("--trials", "embedded-encoder-chunk-tail,embedded-decoder-one-conv-upsample")
    tests = ("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--rootdir", str(ROOT))
    steps = [
        step("doctor", "what this machine has and lacks", edge("doctor"), 5),
        bundle if given is None else copied_bundle(places, given),
        step(
            "ceilings",
            "what this CPU copies and multiplies at most",
            script("ceilings.py", str(places.found("ceilings")), "--cpu"),
            5,
        ),
        step("prove-cpu", "the golden stream", edge(*prove), 5, "bundle"),
        step(
            "bench-cpu",
            "speed, saturated",
            edge(*measure, "--json", str(places.found("bench-cpu"))),
            8,
            "bundle",
        ),
        step(
            "paced-cpu",
            "a camera",
            edge(*measure, "--decode", "--paced", "30", "--json", str(places.found("paced-cpu"))),
            8,
            "bundle",
        ),
        step(
            "device-frames",
            "frames of PyTorch and tokens that are not copied",
            script(
                *("device_frames.py", str(places.bundle), str(places.found("device-frames"))),
                *("--backend", "cpu", "--precision", "fp32", "--calls", "5"),
            ),
            5,
            "bundle",
        ),
        step(
            "trials",
            "two forms of the embedded model, written",
            script(
                *("trials.py", str(places.scratch / "trials"), *tried, "--write-only"),
                *("--size", "32", "--output", str(places.found("trials"))),
            ),
            30,
        ),
        step(
            "checks",
            "gpu_checks on the fake GPU",
            script("gpu_checks.py", str(places.found("checks")), *fake),
            15,
        ),
        step("gpu-tests", "the tests marked gpu", python(*tests, str(ROOT / GPU_TESTS[0])), 6),
        step("full-bundle", "narrow graphs", python("-c", _NARROW, str(places.full)), 40),
    ]
    rehearsed = {one.name for one in steps}
    left_out = (Need("a GPU", lambda: "this is a rehearsal"),)
    others = [one for one in gpu_steps(places, given) if one.name not in rehearsed]
    return steps + [replace(one, needs=left_out, after=()) for one in others]
