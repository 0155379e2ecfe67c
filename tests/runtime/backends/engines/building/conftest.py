"""Which tests need what: the runtime is tested without PyTorch, too."""

from __future__ import annotations

import importlib.util

collect_ignore = (
    []
    if importlib.util.find_spec("torch")
    else ["test_engine_run.py", "test_engines_of_variants.py"]  # their graphs are exported
)
