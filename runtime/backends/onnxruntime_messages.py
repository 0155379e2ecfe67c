"""What an error of ONNX Runtime says, without the C++ around it."""

from __future__ import annotations

import re

__all__ = ["reason_of"]

_HEAD, _TAIL = 120, 360
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_FILE = re.compile(r"^Load model from .*? failed:\s*")
_LOCATION = re.compile(r"\S*\.(?:cc|cpp|cu|cuh|h|hpp):\d+ ")
_SIGNATURE = re.compile(r"(?:[\w:<>&*~,]+ )*?[\w:<>~]*::[\w~]+\(")
_TEMPLATE = re.compile(r"(?: const)?(?: \[with [^\]]*\])? ?")
_FUNCTION = re.compile(r"[\w:~]+ ")
_CUDA_CALL = re.compile(r" ?; GPU=-?\d+ ;.*$")


def reason_of(error: Exception | str) -> str:
    """The reason in one line of at most 485 characters.

    A message is a code, the file of the graph, a source file with the signature of a function, and
    then the reason: a cut from its beginning loses it. What is too long loses its middle.
    """
    said = " ".join(str(error).split()) or type(error).__name__
    text = _FILE.sub("", _CODE.sub("", said))
    while place := _LOCATION.search(text):
        text = text[: place.start()] + _after_function(text[place.end() :])
    text = _CUDA_CALL.sub("", text).strip() or said
    if len(text) <= _HEAD + 5 + _TAIL:
        return text
    return f"{text[:_HEAD]} ... {text[-_TAIL:]}"


def _after_function(text: str) -> str:
    """Without the function at its beginning: a signature as GCC writes it, or a bare name."""
    signature = _SIGNATURE.match(text)
    if signature is None:
        return _FUNCTION.sub("", text, count=1) if _FUNCTION.match(text) else text
    depth, at = 1, signature.end()
    while depth and at < len(text):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    rest = _TEMPLATE.match(text, at)
    return text[rest.end() if rest else at :]
