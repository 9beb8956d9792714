"""What can go wrong, and what the one who sees it can do about it.

    MigrationError                 every error of mtv that a user may see
    ├── Retryable                  the same call may succeed later; loops requeue on it
    │   ├── SourceUnavailable        vCenter or ESXi does not answer, or broke off
    │   ├── TargetUnavailable        the API server or the node does not answer
    │   └── Conflict                 somebody else wrote the object first
    ├── NeedsOperator              a person must change something; the hint says what
    │   ├── BadInput                 a file, flag or field that cannot be understood
    │   ├── NotFound                 a named thing does not exist
    │   ├── AlreadyExists            a name is taken
    │   ├── Forbidden                credentials are missing, wrong or too weak
    │   ├── SourceRefused            the source says no (locked file, wrong state)
    │   └── TargetRefused            the target says no (disk full, volume too small)
    └── Bug                        ours: please report

Data is in the fields; the sentence is made by `__str__`. `exit_code` is what the command line
ends with. `converters` knows nothing of this tree and has its own root, `ConversionError`.
"""

from __future__ import annotations

from typing import ClassVar


class MigrationError(Exception):
    """Root of the tree. `hint` says what to do; it may be empty."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class Retryable(MigrationError):
    """The same call may succeed later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class SourceUnavailable(Retryable):
    """The source does not answer, or broke off in the middle."""


class TargetUnavailable(Retryable):
    """The API server, a node or a volume does not answer."""


class Conflict(Retryable):
    """The object was changed by somebody else since it was read."""


class NeedsOperator(MigrationError):
    """A person must change something before this can succeed."""


class BadInput(NeedsOperator):
    """A file, flag or field that cannot be understood. `field` names it: `spec.vms[0].name`."""

    exit_code = 65  # EX_DATAERR

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class NotFound(NeedsOperator):
    """A named thing does not exist."""

    exit_code = 66  # EX_NOINPUT


class AlreadyExists(NeedsOperator):
    """A name is taken."""

    exit_code = 73  # EX_CANTCREAT


class Forbidden(NeedsOperator):
    """Credentials are missing, wrong or too weak."""

    exit_code = 77  # EX_NOPERM


class SourceRefused(NeedsOperator):
    """The source was asked and says no."""

    exit_code = 69  # EX_UNAVAILABLE


class TargetRefused(NeedsOperator):
    """The target was asked and says no."""

    exit_code = 69


class Bug(MigrationError):
    """A state that should not exist. Ours to mend."""

    exit_code = 70  # EX_SOFTWARE
