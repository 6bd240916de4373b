"""Base classes and number types of settings that people write in YAML files."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


class ClosedModel(BaseModel):
    """Settings without unknown keys, which never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StrictSettings(ClosedModel):
    """Settings whose values are never converted; the text under a field is the remedy that an error offers."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True, use_attribute_docstrings=True)


def _number(value: object) -> object:
    """YAML reads 1e-6, without a point, as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise PydanticCustomError("value", "no number") from None
    return value


FiniteNumber = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_number)]
Positive = Annotated[FiniteNumber, Field(gt=0)]
NotNegative = Annotated[FiniteNumber, Field(ge=0)]
Share = Annotated[FiniteNumber, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
