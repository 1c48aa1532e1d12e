"""What NVIDIA publishes as the peaks of its GPUs: dense products (data sheets often print the double, with sparsity).

In half precision the products are those summed in float32, as TensorFlow's are. A GPU is named as its driver names it.
"""

from __future__ import annotations

import msgspec

from stepbench.records.run import Attainable

TERA, GIGA = 1e12, 1e9


class Published(msgspec.Struct, frozen=True):
    """A GPU's peaks by its maker."""

    name: str
    flops: dict[str, float]
    """Operations a second by the dtype of a product; without what the GPU computes no faster than float32, or not."""
    bandwidth: float
    """Bytes a second."""
    source: str


_H200_SHEET = "NVIDIA H200 Tensor Core GPU data sheet, half of its figures with sparsity"
_H100_SHEET = "NVIDIA H100 Tensor Core GPU data sheet, half of its figures with sparsity"
_A100_SHEET = "NVIDIA A100 Tensor Core GPU data sheet"
_V100_SHEET = "NVIDIA V100 Tensor Core GPU data sheet"
_L4_SHEET = "NVIDIA L4 Tensor Core GPU data sheet, half of its figures with sparsity"
_T4_SHEET = "NVIDIA Turing GPU architecture white paper, appendix on the Tesla T4"
_L40S_SHEET = "NVIDIA L40S data sheet"
_A10_SHEET = "NVIDIA A10 data sheet"
_GA102_PAPER = "NVIDIA Ampere GA102 GPU architecture white paper, appendix A"
_ADA_PAPER = "NVIDIA Ada GPU architecture white paper, appendix A"

# name, source, then 10¹² operations a second in float32, TensorFloat-32, bfloat16, float16, and 10⁹ bytes a second.
_ROWS: tuple[tuple[str, str, float, float | None, float | None, float, float], ...] = (
    ("NVIDIA H200", _H200_SHEET, 67, 494.5, 989.5, 989.5, 4800),
    ("NVIDIA H100 80GB HBM3", _H100_SHEET, 67, 494.5, 989.5, 989.5, 3350),
    ("NVIDIA H100 PCIe", _H100_SHEET, 51, 378, 756.5, 756.5, 2000),
    ("NVIDIA A100-SXM4-40GB", _A100_SHEET, 19.5, 156, 312, 312, 1555),
    ("NVIDIA A100-SXM4-80GB", _A100_SHEET, 19.5, 156, 312, 312, 2039),
    ("NVIDIA A100-PCIE-40GB", _A100_SHEET, 19.5, 156, 312, 312, 1555),
    ("NVIDIA A100 80GB PCIe", _A100_SHEET, 19.5, 156, 312, 312, 1935),
    ("Tesla V100-SXM2-16GB", _V100_SHEET, 15.7, None, None, 125, 900),
    ("Tesla V100-SXM2-32GB", _V100_SHEET, 15.7, None, None, 125, 900),
    ("Tesla V100-PCIE-16GB", _V100_SHEET, 14, None, None, 112, 900),
    ("Tesla V100-PCIE-32GB", _V100_SHEET, 14, None, None, 112, 900),
    ("Tesla T4", _T4_SHEET, 8.1, None, None, 65, 320),
    ("NVIDIA L4", _L4_SHEET, 30.3, 60, 121, 121, 300),
    ("NVIDIA L40S", _L40S_SHEET, 91.6, 183, 362.05, 362.05, 864),
    ("NVIDIA A10", _A10_SHEET, 31.2, 62.5, 125, 125, 600),
    ("NVIDIA GeForce RTX 3090", _GA102_PAPER, 35.6, 35.6, 71, 71, 936),
    ("NVIDIA GeForce RTX 4090", _ADA_PAPER, 82.6, 82.6, 165.2, 165.2, 1008),
)


def published_peaks(device: Attainable) -> Published | None:
    """The published peaks of a measured device, in float32 as TensorFlow was set; None if it is not in the table."""
    for name, source, float32, tensor_float_32, bfloat16, float16, bandwidth in _ROWS:
        if name == device.name:
            rounded = tensor_float_32 if device.tensor_float_32 else None
            peaks = {"float32": rounded or float32, "bfloat16": bfloat16, "float16": float16}
            flops = {dtype: TERA * peak for dtype, peak in peaks.items() if peak}
            return Published(name, flops, GIGA * bandwidth, source)
    return None
