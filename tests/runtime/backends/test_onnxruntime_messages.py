"""Messages as ONNX Runtime 1.18 to 1.32 gave them, and their reasons."""

from __future__ import annotations

import pytest

from vidtok_edge.runtime.backends.onnxruntime_messages import reason_of

FAIL = "[ONNXRuntimeError] : 1 : FAIL : "
CORE = "/onnxruntime_src/onnxruntime/core/"
MODEL = (
    "onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::PathString&, const "
    "onnxruntime::IOnnxRuntimeOpSchemaRegistryList*, const onnxruntime::logging::Logger&, const "
    "onnxruntime::ModelOptions&) "
)
OPSET = (
    "void onnxruntime::model_load_utils::ValidateOpsetForDomain(const "
    "std::unordered_map<std::__cxx11::basic_string<char>, int>&, bool, int) "
)
CUDA_CALL = (
    "std::conditional_t<THRW, void, common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, "
    "int) [with ERRTYPE = cudaError; bool THRW = true] "
)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            f"{FAIL}Load model from /a b/e.onnx failed:{CORE}graph/model.cc:180 {MODEL}"
            "Unsupported model IR version: 14, max supported IR version: 13\n",
            "Unsupported model IR version: 14, max supported IR version: 13",
        ),
        (
            f"{FAIL}Load model from C:\\e.onnx failed:D:\\a\\1\\s\\core\\graph\\model.cc:180 "
            "onnxruntime::Model::Model Unsupported model IR version: 14 (of 13)",
            "Unsupported model IR version: 14 (of 13)",
        ),
        (f"{FAIL}{CORE}graph/model_load_utils.h:46 {OPSET}Opset 99", "Opset 99"),
        (
            "[ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from m.onnx failed:This is an "
            "invalid model. Type Error: Type 'tensor(float)' (x) of operator (And) is invalid.",
            "This is an invalid model. Type Error: Type 'tensor(float)' (x) of operator (And) is "
            "invalid.",
        ),
        (
            f"{FAIL}External data failed. Error: tensorprotoutils.cc:619 ValidatePath External "
            'data path does not exist: "e.onnx.data"',
            'External data failed. Error: External data path does not exist: "e.onnx.data"',
        ),
        (
            f"{CORE}providers/cuda/cuda_call.cc:129 {CUDA_CALL}CUDA failure 100: no CUDA-capable "
            "device is detected ; GPU=0 ; hostname=h ; file=f.cc ; line=66 ; expr=cudaSet(0);",
            "CUDA failure 100: no CUDA-capable device is detected",
        ),
        ("no driver\nat line 3", "no driver at line 3"),
    ],
)
def test_the_reason_is_kept_and_the_code_is_not(message: str, reason: str) -> None:
    assert reason_of(RuntimeError(message)) == reason


def test_a_message_of_nothing_is_the_name_of_its_error() -> None:
    assert reason_of(RuntimeError("")) == "RuntimeError"


def test_what_is_too_long_keeps_both_ends() -> None:
    reason = reason_of("begin " + "x" * 5000 + " end")
    assert len(reason) == 485 and reason.startswith("begin") and reason.endswith(" end")
