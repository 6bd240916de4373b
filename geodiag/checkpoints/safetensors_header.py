"""The number types of a safetensors header."""

from __future__ import annotations

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F6_E2M3": "float6_e2m3",
    "F6_E3M2": "float6_e3m2",
    "F4": "float4_e2m1",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
"""Name in the header -> the name that torch gives the type."""

ITEM_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of one number, of the types that are read."""

READABLE = frozenset(ITEM_BYTES)
"""Types in which a stored number is the weight itself. The others are quantised (the weight is a number times
a scale kept elsewhere) or are no weights."""


def dtype_name(code: str) -> str:
    """The name of a type from its code in a header; an unknown code is its own name, in lower case."""
    return DTYPES.get(code, code.lower())
