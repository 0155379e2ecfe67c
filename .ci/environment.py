"""Prove another environment: make it, run the commands and the tests in it, say what broke.

    python .ci/environment.py newest|oldest runtime|everything

`newest` is the newest Python there is here with the newest packages; `oldest` is Python 3.10 with
the lowest versions that pyproject.toml declares. `runtime` installs no torch, and runs the bundle
of `make demo` and the tests of the runtime; `everything` exports a bundle of its own first, and
runs the whole suite. The environment lies in .envs/, with a log of each step, and is made anew each
time. Where the Python is missing, that is said, and is no failure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".envs"
CLIP = "vidtok_ref/embedded/clip_robot.mp4"
PYTHONS = {"newest": ("3.13", "3.12"), "oldest": ("3.10",)}
EXTRAS = {"runtime": "ort,video,record,datasets,meters"}
EXTRAS["everything"] = "export,hub," + EXTRAS["runtime"]
GROUPS = {"runtime": "test", "everything": "dev"}
_VERSIONS = (
    "import json, importlib.metadata as m;"
    "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
)
_NO_TORCH = (
    "import importlib.util as u, sys; sys.exit('torch is here' if u.find_spec('torch') else 0)"
)


def found_python(versions: tuple[str, ...]) -> str | None:
    """The first of `versions` that starts, on PATH or under pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in versions:
        on_path = shutil.which(f"python{version}")
        in_pyenv = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
        for program in filter(None, [on_path, *map(str, in_pyenv)]):
            # The shims of pyenv are on PATH for versions too that are not switched on.
            command = [program, "-c", "import ensurepip, venv"]
            if subprocess.run(command, capture_output=True).returncode == 0:
                return program
    return None


class Environment:
    """A virtual environment, the steps that were run in it, and those that failed."""

    def __init__(self, age: str, extent: str, program: str) -> None:
        self.name = f"{age}-{extent}"
        self.folder = ENVIRONMENTS / self.name
        self.failed: list[str] = []
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.python = self.program("python")
        self._variables = {**os.environ, "PATH": f"{self.folder / 'venv/bin'}:{os.environ['PATH']}"}
        self.run("venv", program, "-m", "venv", str(self.folder / "venv"))

    def program(self, name: str) -> str:
        """The path of a program that is installed in it."""
        return str(self.folder / "venv/bin" / name)

    def run(self, step: str, *command: str) -> bool:
        """Run a command in the root of the repository; where it fails, its end is shown."""
        log, start = self.folder / f"{step}.log", time.monotonic()
        with log.open("w") as file:
            code = subprocess.run(
                command, cwd=ROOT, env=self._variables, stdout=file, stderr=subprocess.STDOUT
            ).returncode
        took = f"{time.monotonic() - start:.0f} s"
        print(f"{self.name}: {step}: {f'exit code {code}' if code else 'ok'} ({took})", flush=True)
        if code:
            self.failed.append(step)
            lines = log.read_text(errors="replace").splitlines()
            print("\n".join(f"    {line}" for line in lines[-40:]), flush=True)
        return not code

    def install(self, extras: str, group: str, lowest: bool) -> bool:
        """The package with `extras`, and the tools of `group`."""
        what = ["--editable", f".[{extras}]", "--group", group]
        pip = [self.python, "-m", "pip", "install", "--quiet"]
        if not self.run("pip", *pip, "--upgrade", "pip>=25.1", *(["uv"] if lowest else [])):
            return False
        if not lowest:
            return self.run("install", *pip, *what)
        options = ["--resolution", "lowest-direct", "--python", self.python]
        return self.run("install", self.program("uv"), "pip", "install", *options, *what)

    def try_commands(self, bundle: Path) -> None:
        """A clip to tokens, through the tokenizer and back, and to a recording; and a proof."""
        results = {"encode": "robot.npz", "reconstruct": "robot.mp4", "record": "robot.mcap"}
        for command, result in results.items():
            places = ["--bundle", str(bundle), "--output", str(self.folder / result)]
            self.run(command, self.program("vidtok-edge"), command, CLIP, *places)
        self.run("prove", self.program("vidtok-edge"), "prove", str(bundle))

    def verdict(self) -> str:
        """One line: the environment, the failing steps, and what is installed."""
        version = subprocess.run([self.python, "-V"], capture_output=True, text=True).stdout.strip()
        result = f"FAILED at {', '.join(self.failed)}" if self.failed else "passed"
        return f"{self.name}, {version}: {result}. {self._packages()}"

    def _packages(self) -> str:
        """The packages, where they differ from those of .venv, in which the suite is run too."""
        here, usual = _versions(self.python), _versions(str(ROOT / ".venv/bin/python"))
        told = [
            f"{name} {version}" + (f" ({usual[name]})" if name in usual else "")
            for name, version in sorted(here.items())
            if usual.get(name) != version
        ]
        return "Packages (in .venv, if another): " + ", ".join(told)


def _versions(python: str) -> dict[str, str]:
    if not Path(python).exists():
        return {}
    done = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True)
    versions: dict[str, str] = json.loads(done.stdout or "{}")
    return versions


def prove(age: str, extent: str, program: str) -> Environment:
    """Make the environment, and run everything that it must pass."""
    environment = Environment(age, extent, program)
    # Rerun asks for a later numpy and pyarrow than we do: with it theirs would not be the lowest.
    extras = EXTRAS[extent] + (",view" if age == "newest" else "")
    if environment.failed or not environment.install(extras, GROUPS[extent], age == "oldest"):
        return environment
    bundle, tests = ROOT / "demo/vidtok-fsq", ["tests/runtime"]
    if extent == "runtime":
        environment.run("no-torch", environment.python, "-c", _NO_TORCH)
    else:
        bundle, tests = environment.folder / "vidtok-fsq", []
        export = environment.program("vidtok-export")
        environment.run("export", export, "--variant", "fsq", "--output", str(bundle))
    environment.try_commands(bundle)
    workers = ["-n", "2", "--dist", "loadgroup", "--max-worker-restart", "0"]  # as in the Makefile
    environment.run("tests", environment.python, "-m", "pytest", "-q", *workers, *tests)
    return environment


def main() -> int:
    age, extent = sys.argv[1:]
    program = found_python(PYTHONS[age])
    if program is None:
        wanted = " or ".join(f"python{version}" for version in PYTHONS[age])
        print(f"{age}-{extent}: SKIPPED, nothing was tried: no {wanted} on PATH or under pyenv")
        return 0
    environment = prove(age, extent, program)
    print(environment.verdict(), flush=True)
    return 1 if environment.failed else 0


if __name__ == "__main__":
    sys.exit(main())
