"""How a transfer can end: condition, exit code, and whether another try makes sense. Pure.

The controller reads the exit code: 0 done, 75 (EX_TEMPFAIL) try again; any other of `mtv.errors`
means that a person has to change something first.
"""

from __future__ import annotations

from dataclasses import dataclass

from converters import errors as conversion
from mtv import errors
from mtv.api.meta import Condition
from mtv.providers.vsphere.disks import DiskLocked
from mtv.providers.vsphere.endpoint import CertificateRejected
from mtv.providers.vsphere.faults import Locked
from mtv_operator.transfer.target import TargetForeign

RETRY = errors.Retryable.exit_code

# The types of conditions that say why a transfer does not go on.
SOURCE_UNAVAILABLE = "SourceUnavailable"
CAUSES = (
    SOURCE_UNAVAILABLE,
    "SourceChanged",
    "SourceCertificate",
    "SourceCorrupt",
    "SourceForbidden",
    "SourceGone",
    "SourceLocked",
    "SourceRefused",
    "SourceUnsupported",
    "TargetBroken",
    "TargetForeign",
    "TargetFull",
    "TargetTooSmall",
    "TargetUnavailable",
    "VerificationFailed",
    "BadInput",
    "InternalError",
)


class SourceResized(errors.SourceRefused):
    """The disk has another size than the one that was planned with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a transfer ended before its end."""

    cause: str
    message: str
    exit_code: int

    @property
    def retryable(self) -> bool:
        """Whether another try, without anybody's help, may succeed."""
        return self.exit_code == RETRY

    def condition(self) -> Condition:
        """Return it as a condition."""
        return Condition(type=self.cause, status="True", reason=self.cause, message=self.message)


# In this order: the first class that fits.
_CONVERSION: tuple[tuple[type[conversion.ConversionError], str, int], ...] = (
    (conversion.CorruptImage, "SourceCorrupt", errors.BadInput.exit_code),
    (conversion.UnsupportedImage, "SourceUnsupported", errors.SourceRefused.exit_code),
    (conversion.SourceBroken, SOURCE_UNAVAILABLE, RETRY),
    (conversion.SourceUnauthorized, "SourceForbidden", errors.Forbidden.exit_code),
    (conversion.SourceRefused, "SourceRefused", errors.SourceRefused.exit_code),
    (conversion.SourceChanged, "SourceChanged", RETRY),
    (conversion.Mismatch, "VerificationFailed", errors.TargetRefused.exit_code),
    (conversion.TargetFull, "TargetFull", RETRY),
    (conversion.TargetTooSmall, "TargetTooSmall", errors.TargetRefused.exit_code),
    (conversion.TargetBroken, "TargetBroken", RETRY),
)
_MIGRATION: tuple[tuple[type[errors.MigrationError], str, int], ...] = (
    (SourceResized, "SourceChanged", errors.SourceRefused.exit_code),
    (DiskLocked, "SourceLocked", errors.SourceRefused.exit_code),
    (Locked, "SourceLocked", RETRY),
    (CertificateRejected, "SourceCertificate", errors.SourceRefused.exit_code),
    (errors.Forbidden, "SourceForbidden", errors.Forbidden.exit_code),
    (errors.NotFound, "SourceGone", errors.NotFound.exit_code),
    (errors.BadInput, "BadInput", errors.BadInput.exit_code),
    (TargetForeign, "TargetForeign", errors.TargetRefused.exit_code),
    (errors.SourceRefused, "SourceRefused", errors.SourceRefused.exit_code),
    (errors.TargetUnavailable, "TargetUnavailable", RETRY),
    (errors.Retryable, SOURCE_UNAVAILABLE, RETRY),
)


def of_fault(fault: Exception) -> Ending:
    """Return the ending that a failure means."""
    hint = getattr(fault, "hint", "")
    message = f"{fault}{f'; {hint}' if hint else ''}"
    table: tuple[tuple[type[Exception], str, int], ...] = (*_CONVERSION, *_MIGRATION)
    for kind, cause, code in table:
        if isinstance(fault, kind):
            return Ending(cause=cause, message=message, exit_code=code)
    return Ending(
        cause="InternalError",
        message=f"{type(fault).__name__}: {message}",
        exit_code=errors.Bug.exit_code,
    )
