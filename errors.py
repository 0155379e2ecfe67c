"""Every error a user can cause, in one tree. The exit code of a command is the code of its branch::

    VidTokEdgeError
    |- CheckFailed                1   a check did not pass
    |- UsageError                 2   the command or call was wrong
    |  |- UnknownVariant              no variant of that name
    |  |- UnsupportedSize             height, width or number of frames the variant cannot take
    |  |- OutputExists                the output is there already and --force was not given
    |  `- RecordingBusy               another process records to that file
    |- InputError                 3   what was read is bad
    |  |- CheckpointError             weights that cannot be used
    |  |- CalibrationError            clips or ranges that INT8 cannot be calibrated with
    |  |- BundleError                 a bundle that cannot be trusted
    |  |  |- BundleMissing            no bundle in that place
    |  |  |- BundleFileMissing        the manifest names a file that is not there
    |  |  |- BundleFileChanged        a file differs from its sha256
    |  |  |- BundlePathEscapes        a path of the manifest leaves the bundle
    |  |  |- BundleSchemaUnknown      written by a toolkit of another schema version
    |  |  |- BundleMismatch           the manifest and a graph disagree
    |  |  |- BundleGraphRefused       a graph would run what no step graph does
    |  |  |- EngineMissing            no engine of that graph for this target and GPU
    |  |  |- EngineRefused            TensorRT does not parse or build a graph
    |  |  |- EngineStale              an engine that is not of this graph, for this machine
    |  |  |- EngineUntrusted          an engine that was built elsewhere, and no opt-in
    |  |  |- GraphFailed              a graph that was loaded, and fails when it is run
    |  |  |- GoldenStreamError        a golden stream that is missing, damaged or of another bundle
    |  |  `- ProofError               a proof that cannot be read
    |  |- ClipError                   a clip that cannot be read
    |  |- DocumentError               a benchmark's JSON that cannot be drawn
    |  |- TokenFileError              a token file that cannot be used
    |  |- RecordingError              a recording that cannot be used
    |  |- DatasetError                a data set that cannot be used, or not with another
    |  |- SourceError                 a source of frames that cannot be opened or read
    |  |  `- SourceLost               it was there, and disappeared
    |  `- StreamError                 a frame, latent or call that does not fit the stream
    `- MissingFromEnvironment     4   the machine lacks something
       |- MissingDependency           a package of an extra is not installed
       |- BackendUnavailable          no backend can run the bundle here
       |- DeviceError                 a call of CUDA or TensorRT failed
       |- HubUnreachable              the official weights cannot be fetched
       |- OutOfMemory                 there is not enough memory
       `- OutputNotWritable           the output cannot be written (permissions, full disk)

A message says what was got, what is allowed and what to do next.
"""

from __future__ import annotations

import errno
import re

__all__ = [
    "BackendUnavailable",
    "BundleError",
    "BundleFileChanged",
    "BundleFileMissing",
    "BundleGraphRefused",
    "BundleMismatch",
    "BundleMissing",
    "BundlePathEscapes",
    "BundleSchemaUnknown",
    "CalibrationError",
    "CheckFailed",
    "CheckpointError",
    "ClipError",
    "DatasetError",
    "DeviceError",
    "DocumentError",
    "EngineMissing",
    "EngineRefused",
    "EngineStale",
    "EngineUntrusted",
    "GoldenStreamError",
    "GraphFailed",
    "HubUnreachable",
    "InputError",
    "MissingDependency",
    "MissingFromEnvironment",
    "OutOfMemory",
    "OutputExists",
    "OutputNotWritable",
    "ProofError",
    "RecordingBusy",
    "RecordingError",
    "SourceError",
    "SourceLost",
    "StreamError",
    "TokenFileError",
    "UnknownVariant",
    "UnsupportedSize",
    "UsageError",
    "VidTokEdgeError",
]


class VidTokEdgeError(Exception):
    """The root: catch this to catch everything the toolkit raises on purpose."""

    exit_code = 1


class CheckFailed(VidTokEdgeError):
    """A check ran and did not pass."""


class UsageError(VidTokEdgeError):
    """The command or call was wrong."""

    exit_code = 2


class UnknownVariant(UsageError):
    """No variant of that name."""


class UnsupportedSize(UsageError):
    """Height, width or number of frames that the variant cannot take."""


class OutputExists(UsageError):
    """The output is there already."""

    def __init__(self, path: object) -> None:
        super().__init__(f"{path} exists already. Pass --force to replace it, or name another.")


class RecordingBusy(UsageError):
    """Another process records to that file."""


class InputError(VidTokEdgeError):
    """What was read is bad."""

    exit_code = 3


class CheckpointError(InputError):
    """Weights that cannot be used."""


class CalibrationError(InputError):
    """Clips or ranges that INT8 cannot be calibrated with."""


class BundleError(InputError):
    """A bundle that cannot be trusted."""


class BundleMissing(BundleError):
    """No bundle in that place."""


class BundleFileMissing(BundleError):
    """The manifest names a file that is not there."""


class BundleFileChanged(BundleError):
    """A file differs from the sha256 in the manifest."""


class BundlePathEscapes(BundleError):
    """A path of the manifest leaves the bundle's folder."""


class BundleSchemaUnknown(BundleError):
    """The manifest has a schema version that this toolkit does not read."""


class BundleMismatch(BundleError):
    """The manifest says one thing, the graph beside it another."""


class BundleGraphRefused(BundleError):
    """A graph would run what no step graph does: control flow, operators or files of others."""


class EngineMissing(BundleError):
    """No engine of that graph for this target and GPU."""


class EngineRefused(BundleError):
    """TensorRT does not parse or build a graph."""


class EngineStale(BundleError):
    """An engine that is not of this graph, for this machine; `mismatches` names each fact."""

    def __init__(self, message: str, mismatches: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.mismatches = mismatches


class EngineUntrusted(BundleError):
    """An engine was built elsewhere, and running such engines was not asked for."""


class GraphFailed(BundleError):
    """A graph that was loaded, and fails when it is run."""


class GoldenStreamError(BundleError):
    """A golden stream that is missing, damaged or of another bundle."""


class ProofError(BundleError):
    """A proof that cannot be read."""


class ClipError(InputError):
    """A clip that cannot be read."""


class DocumentError(InputError):
    """A benchmark's JSON that cannot be drawn."""


class TokenFileError(InputError):
    """A token file that cannot be used."""


class RecordingError(InputError):
    """A recording that cannot be used."""


class DatasetError(InputError):
    """A data set that cannot be used, or not together with another."""


class SourceError(InputError):
    """A source of frames that cannot be opened or read."""


class SourceLost(SourceError):
    """A source that was there, and disappeared."""


class StreamError(InputError):
    """A frame, latent or call that does not fit the stream."""


class MissingFromEnvironment(VidTokEdgeError):
    """The machine lacks something."""

    exit_code = 4


class MissingDependency(MissingFromEnvironment):
    """A package of an extra is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed. "
            f"Install it with: {self.install_line(extra)}"
        )

    @staticmethod
    def install_line(extra: str) -> str:
        """The command that installs an extra of this distribution."""
        return f'pip install "vidtok-edge[{extra}]"'


class BackendUnavailable(MissingFromEnvironment):
    """No backend can run the bundle here."""


class DeviceError(MissingFromEnvironment):
    """A call of CUDA or TensorRT failed."""


class HubUnreachable(MissingFromEnvironment):
    """The official weights cannot be fetched."""


class OutOfMemory(MissingFromEnvironment):
    """There is not enough memory.

    Args:
        what: what said so, or what it was asked for.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"not enough memory ({what}). Close other programs, or use smaller frames, fewer "
            "streams or a machine with more."
        )

    @staticmethod
    def is_told_by(error: BaseException) -> bool:
        """Whether an error of Python or of a library says that memory was short."""
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, OSError):
            return error.errno == errno.ENOMEM
        return _SHORT_OF_MEMORY.search(str(error)) is not None


# As ONNX Runtime, PyTorch, CUDA and the C++ library say it.
_SHORT_OF_MEMORY = re.compile(
    r"out of memory|std::bad_alloc|bad allocation|(can't|cannot|failed to) allocate memory"
    r"|not enough memory|failed to allocate \d+ bytes",
    re.IGNORECASE,
)


class OutputNotWritable(MissingFromEnvironment):
    """The output cannot be written."""
