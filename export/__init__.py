"""From the reference model to a verified bundle."""

from vidtok_edge.export.bundle_export import (
    Exported,
    ExportPlan,
    ExportRequest,
    export_bundle,
    plan_export,
)
from vidtok_edge.export.bundle_verify import verify_written
from vidtok_edge.export.verifying.comparison import Comparison
from vidtok_edge.export.verifying.report import ParityReport
from vidtok_edge.lowering.step import StepOptions

__all__ = [
    "Comparison",
    "ExportPlan",
    "ExportRequest",
    "Exported",
    "ParityReport",
    "StepOptions",
    "export_bundle",
    "plan_export",
    "verify_written",
]
