"""Every reader, or those that are named, for a time each; `make fuzz` gives them a minute.

    python -m fuzz --seconds 60 --seed 1 recording.read tokens.npz

Each runs in a process of its own, so that a crash of a library is found too. What a reader failed
at is kept in `fuzz-failures/`, and the seed is printed: the same seed gives the same files.
"""

from __future__ import annotations

import argparse
import faulthandler
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from random import Random

from fuzz.attempt import Attempt, Broken
from fuzz.targets import TARGETS

FAILURES = Path("fuzz-failures")
HANGS_S = 120


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="READER", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each reader")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.names) - set(TARGETS):
        parser.error(f"no reader {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if args.alone:
        return _alone(args.names[0], args.seed, args.seconds, args.alone)
    seed = secrets.randbits(32) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    failed = [name for name in args.names or TARGETS if not _passes(name, seed, args.seconds)]
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return bool(failed)


def _passes(name: str, seed: int, seconds: float) -> bool:
    if not TARGETS[name].here:
        print(f"{name}: left out, it needs {', '.join(TARGETS[name].needs)}", flush=True)
        return True
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fuzz", name, "--seed", str(seed)]
        done = subprocess.run(
            [*command, "--seconds", str(seconds), "--alone", folder],
            capture_output=True,
            text=True,
        )
        told = (done.stdout.strip().splitlines() or ["nothing was read"])[-1]
        print(f"{name}: {told}", flush=True)
        if done.returncode:
            kept = FAILURES / f"{name}-{seed}"
            kept.mkdir(parents=True, exist_ok=True)
            changed = Path(folder) / "changed"
            if changed.exists():
                shutil.copy(changed, kept / "input")
            (kept / "why.txt").write_text(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
            print(f"  kept in {kept}; again with --seed {seed} {name}", flush=True)
    return not done.returncode


def _alone(name: str, seed: int, seconds: float, folder: Path) -> int:
    """In a process of its own: until something breaks, or the time is over."""
    warnings.simplefilter("error")
    rng = Random(f"{name} {seed}")
    attempt = Attempt(TARGETS[name], folder / "files")
    sound, kept = attempt.sound, folder / "changed"
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        content = TARGETS[name].mutation(rng, sound)
        kept.write_bytes(content)
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
        try:
            attempt.read(content)
        except Broken as error:
            import traceback

            traceback.print_exc()
            print(f"broken at file {count}: {error}")
            return 1
        finally:
            faulthandler.cancel_dump_traceback_later()
        count += 1
    print(f"{count} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
