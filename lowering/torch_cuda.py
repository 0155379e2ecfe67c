"""PyTorch on a GPU: whether there is one, and arithmetic that is exact float32."""

from __future__ import annotations

import torch

from vidtok_edge.errors import BackendUnavailable

__all__ = ["exact_float32", "require_torch_cuda"]


def require_torch_cuda() -> None:
    """Raises:
    BackendUnavailable: this PyTorch is one for the CPU, or sees no GPU.
    """
    if torch.version.cuda is None:
        raise BackendUnavailable(
            f"PyTorch {torch.__version__} is one for the CPU. Install one for the CUDA of this "
            "machine (pytorch.org)."
        )
    if not torch.cuda.is_available():
        raise BackendUnavailable(
            f"PyTorch {torch.__version__} sees no GPU. Look at the driver (nvidia-smi) and at "
            "CUDA_VISIBLE_DEVICES."
        )


def exact_float32() -> None:
    """No TF32, in all of this process; cuDNN may try its algorithms, which all are float32 then."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
