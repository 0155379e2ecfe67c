"""What torch.onnx.export writes, made simple: constants folded, what cancels out removed.

This is the exporter's own optimiser with the rules that have something to do in step graphs. All of
its rules took up to half of an export: each is tried on every node, and one (`slice_split_rule`)
on every pair of nodes.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules import common as rules

__all__ = ["simplify"]

_RULES = (
    rules.collapse_slice_rule,
    rules.fuse_pad_into_conv_rule,
    rules.no_op_transpose_rule,
    rules.reshape_reshape_rule,
    rules.transpose_transpose_rule,
    rules.unsqueeze_unsqueeze_rule,
)
_ROUNDS = 2  # what a rule writes may have become constant


def simplify(model: ir.Model) -> ir.Model:
    """`model`, or another, without nodes that do nothing; constants are initializers, each once."""
    common.InlinePass()(model)
    for _ in range(_ROUNDS):
        fold_constants(model)
        model = rewrite(model, _RULES)
    tidy = ir.passes.Sequential(
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )
    return tidy(model).model
