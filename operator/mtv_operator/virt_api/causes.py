"""One thing that is wrong with an object, as `details.causes` of a refusal names it."""

from __future__ import annotations

from dataclasses import dataclass

INVALID = "FieldValueInvalid"
REQUIRED = "FieldValueRequired"
DUPLICATE = "FieldValueDuplicate"
NOT_SUPPORTED = "FieldValueNotSupported"
NOT_FOUND = "FieldValueNotFound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What is wrong, in the path of which field."""

    field: str
    message: str
    reason: str = INVALID
