"""What is left of a graph when it has been simplified."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
import torch
from onnxscript.optimizer import optimize
from torch import Tensor, nn
from torch.nn import functional as F

from vidtok_edge.export import Exported
from vidtok_edge.export.graphs.simplify import simplify
from vidtok_edge.lowering.step import Kind


class Roundabout(nn.Module):
    """A convolution of 3 channels behind what `simplify` takes away or makes one of two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        same = x.permute(0, 2, 3, 1).permute(0, 3, 1, 2)
        whole = same.narrow(1, 0, 3).unsqueeze(0).unsqueeze(0).reshape(3, 8, 8).reshape(1, 3, 8, 8)
        constant = torch.ones(4, 1, 1) * 2 + 1
        product = self.conv(F.pad(whole, (1, 1, 1, 1))) * constant
        return product.permute(0, 1, 2, 3), x


def exported(module: nn.Module, x: Tensor) -> ir.Model:
    program = torch.onnx.export(module.eval(), (x,), dynamo=True, optimize=False, verbose=False)
    assert program is not None
    return program.model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_nodes_that_do_nothing_go_and_the_numbers_stay() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    module, x = Roundabout(), torch.randn(1, 3, 8, 8)
    written = exported(module, x)
    assert {"Pad", "Transpose", "Slice"} <= {node.op_type for node in written.graph}
    simple = simplify(written)
    kinds = [node.op_type for node in simple.graph]
    assert sorted(kinds) == ["Conv", "Identity", "Mul", "Reshape", "Unsqueeze"]
    session = onnxruntime.InferenceSession(ir.to_proto(simple).SerializeToString())
    got, given = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    want, _ = module(x)
    torch.testing.assert_close(torch.from_numpy(got), want)
    assert (given == x.numpy()).all()


@pytest.mark.xdist_group("precisions")
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_the_whole_optimiser_finds_nothing_left_to_do(precisions: Exported, kind: Kind) -> None:
    """In the graph with most kinds of nodes; where it finds something, a rule is missing."""
    spec = precisions.bundle.manifest.graph(kind, "int8")
    model = onnx.load_model(precisions.bundle.path / spec.file)
    after = optimize(model)
    assert sorted(n.op_type for n in after.graph.node) == sorted(
        n.op_type for n in model.graph.node
    )
