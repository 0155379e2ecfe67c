"""What the scripts share: what is judged, and that what they write is what the tables read."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_step import fake_manifest

from vidtok_edge.runtime.bench.figures import StartUp
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.matrix import Entry
from vidtok_edge.runtime.bench.measuring.ratios import Spread
from vidtok_edge.runtime.bench.measuring.runs import Calls, Measured
from vidtok_edge.runtime.bench.measuring.turn import Turn

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are those of a git checkout", allow_module_level=True)

from report import begin  # noqa: E402
from rounds import compared, overhead_share, spread_of, step_ms  # noqa: E402
from tables import block_of, measured_tables  # noqa: E402
from targets import at_least, at_most, percent_text, ratio_row  # noqa: E402

MS = 1_000_000


def entry(name: str, *steps_ms: float) -> Entry:
    """A candidate with one turn for each step, of which the runtime adds a tenth."""
    turns = []
    for took_ms in steps_ms:
        calls = Calls(
            upload_ns=[0],
            compute_ns=[round(took_ms * MS)],
            download_ns=[0],
            overhead_ns=[round(took_ms * MS / 10)],
        )
        turns.append(
            Turn(
                started=0.0,
                backend="",
                fell_back="",
                graphs=[],
                start_up=StartUp(process_ms=0, load_ms=0, open_ms=0, first_token_ms=0),
                measured=Measured(
                    latency_ns=[[]], ready_ns=[[]], picture_latency_ns=[[]], encoder=calls
                ),
                peak_device_mb=None,
            )
        )
    return Entry(Candidate(f"/{name}", "cpu", "fp32"), fake_manifest(), turns)


def test_steps_are_compared_round_by_round() -> None:
    """The machine gets slower from round to round; in each of them `b` takes half as long."""
    times = [10.0 * 2**n for n in range(7)]
    a, b = entry("a", *times), entry("b", *(t / 2 for t in times))
    ratio = compared(b, a, step_ms("encoder"), 2, "step")
    assert (ratio.median, ratio.low, ratio.high, ratio.verdict) == (2, 2, 2, "faster")
    assert ratio_row(ratio)["verdict"] == "", "a difference speaks for itself"
    assert ratio_row(compared(a, a, step_ms("encoder"), 2, "x"))["verdict"] == "inside the noise"
    assert spread_of(b.turns, overhead_share("encoder")).median == pytest.approx(0.1)


def test_a_target_says_when_its_verdict_is_in_doubt() -> None:
    ratio = compared(entry("b", 5, 5, 4), entry("a", 10, 9, 10), step_ms("encoder"), 2, "step")
    for limit, verdict in ((1.5, "reached"), (1.9, "reached; the spread crosses the limit")):
        assert at_least("fast", ratio, limit).row()["verdict"] == verdict
    spread = Spread.of([0.02, 0.05, 0.04])
    assert at_most("small", spread, 0.06, percent_text(spread)).row() == {
        "target": "small",
        "measured": "4.00% (2.00%..5.00%)",
        "verdict": "reached",
    }
    assert not at_most("small", spread, 0.01, "").reached


def test_what_a_script_writes_is_what_the_tables_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = begin("example", "`python example.py`")
    report.judge("speed-targets", [at_most("small", Spread.of([1.0]), 2.0, "1.0")])
    report.show()
    report.write(tmp_path / "example.json")
    assert report.reached and "| small | 1.0 | reached |" in capsys.readouterr().out
    block = block_of("speed-targets", measured_tables(tmp_path))
    assert "| small | 1.0 | reached |" in block and "`python example.py`" in block
