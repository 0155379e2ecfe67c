"""The sidecar of an engine that was never built."""

from __future__ import annotations

import hashlib

from vidtok_edge.runtime.backends.engines.sidecar import (
    FLAGS,
    SIDECAR_SCHEMA,
    EngineHost,
    EngineSidecar,
    OtherEngine,
    PrecisionProof,
    PrecisionShare,
    layers_sha256,
)
from vidtok_edge.runtime.manifest.graphs import GraphSpec

__all__ = ["PROOF", "sidecar_of"]

PROOF = PrecisionProof("network", (PrecisionShare("fp32", 2, 250), PrecisionShare("int8", 6, 750)))


def sidecar_of(graph: GraphSpec, content: bytes, host: EngineHost) -> EngineSidecar:
    """As if `content` were the engine of `graph`, built for `host`."""
    return EngineSidecar(
        schema=SIDECAR_SCHEMA,
        toolkit="0",
        graph=graph.name,
        target=host.target,
        version=host.version,
        gpu=host.gpu,
        gpu_name=host.gpu_name,
        platform=host.platform,
        onnx_sha256=graph.sha256,
        data_sha256=graph.data_sha256,
        precision=graph.precision,
        form=graph.form,
        int8_layers_sha256=layers_sha256(()),
        workspace_mb=None,
        optimization=3,
        flags=FLAGS[host.target],
        build_seconds=1.5,
        engine_sha256=hashlib.sha256(content).hexdigest(),
        engine_bytes=len(content),
        proof=PROOF,
        step_ms=1.25,
        slower=(OtherEngine(precision="int8", form="conv3d", step_ms=1.5),),
    )
