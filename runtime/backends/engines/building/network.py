"""A step graph as a strongly typed TensorRT network: every tensor has the type the graph says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidtok_edge.errors import EngineRefused
from vidtok_edge.runtime.backends.engines.api import (
    Builder,
    INetworkDefinition,
    OnnxParser,
    ParserError,
    TensorRT,
)

__all__ = ["ParsedNetwork", "parsed_network", "said"]


@dataclass(frozen=True, slots=True)
class ParsedNetwork:
    """A network, and what must live as long as it does."""

    builder: Builder
    network: INetworkDefinition
    parser: OnnxParser
    flags: tuple[str, ...]
    """With which it was made, as a sidecar names them."""


def parsed_network(library: TensorRT, logger: Any, onnx: Path, product: str) -> ParsedNetwork:
    """Parse the ONNX file at `onnx`; its external weights are read from beside it.

    Args:
        library: the TensorRT that parses it.
        logger: where it logs.
        onnx: the file.
        product: how messages call this TensorRT, as `TensorRT-RTX 1.7.1`.

    Raises EngineRefused with the node that TensorRT does not take and why.
    """
    builder = library.Builder(logger)
    # The flag's value differs: 1 in TensorRT 10, 0 since 11 and in TensorRT-RTX.
    flags = 1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = library.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        errors = [_sentence(parser.get_error(index)) for index in range(parser.num_errors)]
        raise EngineRefused(
            f"{product} does not parse {onnx.name}: {'; '.join(errors) or 'it gives no reason'}"
        )
    return ParsedNetwork(builder, network, parser, ("STRONGLY_TYPED",))


def _sentence(error: ParserError) -> str:
    """`layer encoder.mid.attn_1, node encoder.mid.attn_1/MatMul (MatMul): why`."""
    node = error.node_name()
    layer = re.sub(r"/\w+(\.\d+)?$", "", node)
    place = f"layer {layer}, node {node} ({error.node_operator()}): " if node else ""
    return place + said(error.desc().splitlines())


def said(messages: Sequence[str]) -> str:
    """What TensorRT gave as reason, on one line: without repetitions, places in its source, and
    complaints about the GPU that a machine which builds ahead of time does not have."""
    kept = [
        re.sub(r"\s*In \w+ at /\S+:\d+\)?", "", message).strip()
        for message in messages
        if "cudaError" not in message and "catchCudaError" not in message
    ]
    return " ".join(dict.fromkeys(text for text in kept if text)) or "it gives no reason"
