"""From the errors of `converters`, which knows nothing of ours, to those that `mtv` ends with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from converters import conversion
from converters import errors as of_disks
from mtv import errors


@contextmanager
def translated() -> Iterator[None]:
    """Turn an error of a conversion into one with an exit code."""
    try:
        yield
    except of_disks.ConversionError as fault:
        raise translate(fault) from fault


def translate(fault: of_disks.ConversionError) -> errors.MigrationError:
    """Return the error of `mtv` that says the same."""
    text, hint = str(fault), fault.hint
    cause = fault.__cause__
    if isinstance(cause, FileNotFoundError):
        return errors.NotFound(text, hint=hint)
    if isinstance(cause, PermissionError):
        return errors.Forbidden(text, hint=hint)
    match fault:
        case of_disks.ImageError() | of_disks.Mismatch():
            return errors.BadInput(text, hint=hint)
        case of_disks.SourceBroken():
            return errors.SourceUnavailable(text, hint=hint)
        case of_disks.SourceUnauthorized():
            return errors.Forbidden(text, hint=hint)
        case of_disks.SourceError():
            return errors.SourceRefused(text, hint=hint)
        case conversion.TargetExists():
            return errors.AlreadyExists(text, hint=hint)
        case of_disks.SinkError():
            return errors.TargetRefused(text, hint=hint)
        case _:
            return errors.BadInput(text, hint=hint)
