"""The check of a reduction, which `polygraphy debug reduce` runs for each graph that it tries::

    python -m vidtok_edge.runtime.comparing.check FOLDER GRAPH.onnx

Of the graph the names of its nodes and outputs are read. What is run are those nodes of the case's
own graph, completed to whole layers, on the other side's values. Ends with 17 where a layer loses
what the case looks for, with 0 where none does. What went wrong is written to `error.txt`, for to
Polygraphy every other end is a graph that passes.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from vidtok_edge.runtime.comparing.part import names_in
from vidtok_edge.runtime.comparing.reduction_case import ReductionCase

__all__ = ["COUNT", "ERROR", "FAILS", "main"]

FAILS = 17
"""The exit code of a graph that fails as the whole one does; Python's own is 1."""
COUNT, ERROR = "checks.txt", "error.txt"
"""Files in the folder of the case: a line for each check, and what went wrong in one."""


def main(folder: Path, graph: Path) -> int:
    """The exit code for the reduced graph in the file `graph`, of the case in `folder`."""
    try:
        with (folder / COUNT).open("a", encoding="utf-8") as counted:
            counted.write(f"{graph.name}\n")
        case = ReductionCase.load(folder)
        nodes, outputs = names_in(graph)
        return FAILS if case.fails(case.part(nodes, outputs)) else 0
    except Exception:
        (folder / ERROR).write_text(traceback.format_exc(), encoding="utf-8")
        return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3])))
