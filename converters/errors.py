"""What can go wrong with the bytes of a disk.

    ConversionError            root; knows file, offset, field, value, what was expected, and a hint
    ├── ImageError               the image itself
    │   ├── CorruptImage           it contradicts its format
    │   └── UnsupportedImage       a format, or a feature of one, that is not read here
    ├── SourceError              whoever gives us the bytes
    │   ├── SourceBroken           broke off or does not answer; a later try may succeed
    │   ├── SourceRefused          answers, and says no
    │   ├── SourceUnauthorized     wants other credentials
    │   └── SourceChanged          is no longer the disk that was begun with
    ├── SinkError                where the bytes go
    │   ├── TargetFull             no space left; goes on when there is some
    │   ├── TargetTooSmall         can never hold this disk
    │   └── TargetBroken           input/output error
    ├── GuestError               the inside of the guest
    │   ├── CorruptGuest           it contradicts its format or a bound: damaged or malicious
    │   ├── UnsupportedGuest       a kind of guest, or a part of one, that is not handled here
    │   └── ProgramFailed          a program that works on it is missing, failed or took too long
    ├── Mismatch                 what was written is not what was read
    └── Cancelled                somebody asked for the end

The sentence is made by `__str__` out of the fields: what was seen, where, what was expected.
"""

from __future__ import annotations


class ConversionError(Exception):
    """Root of the tree. `retryable` says whether the same call may succeed later."""

    retryable = False

    def __init__(
        self,
        problem: str = "",
        *,
        file: str = "",
        offset: int | None = None,
        field: str = "",
        value: object = None,
        expected: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = file
        self.offset = offset
        self.field = field
        self.value = value
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        where = [self.file] if self.file else []
        if self.offset is not None:
            where.append(f"byte {self.offset}")
        seen = self.problem
        if self.field and not seen:
            seen = f"{self.field} is {_shown(self.value)}"
        if self.expected:
            seen += f", expected {self.expected}"
        return ": ".join([", ".join(where), seen] if where else [seen])


def _shown(value: object) -> str:
    """Return a value for people: hostile text is shortened and escaped."""
    if isinstance(value, int):
        return str(value)
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


class ImageError(ConversionError):
    """The image itself is the trouble."""


class CorruptImage(ImageError):
    """The image contradicts its format: damaged, cut short, or made to deceive."""


class UnsupportedImage(ImageError):
    """A format, or a feature of one, that is not read here."""


class SourceError(ConversionError):
    """Whoever gives us the bytes is the trouble."""


class SourceBroken(SourceError):
    """The source broke off or does not answer."""

    retryable = True


class SourceRefused(SourceError):
    """The source answers, and says no. `status` is its HTTP status, 0 where there is none."""

    def __init__(
        self, problem: str = "", *, status: int = 0, file: str = "", hint: str = ""
    ) -> None:
        super().__init__(problem, file=file, hint=hint)
        self.status = status


class SourceUnauthorized(SourceRefused):
    """The source wants other credentials."""


class SourceChanged(SourceError):
    """The source is no longer the disk that was begun with: begin again."""


class SinkError(ConversionError):
    """Where the bytes go is the trouble."""


class TargetFull(SinkError):
    """No space left; the copy goes on when there is some."""

    retryable = True


class TargetTooSmall(SinkError):
    """The target can never hold this disk."""


class TargetBroken(SinkError):
    """The target answers with an input/output error."""


class GuestError(ConversionError):
    """The inside of the guest is the trouble."""


class CorruptGuest(GuestError):
    """The guest contradicts its format, or exceeds a bound: damaged, or made to deceive."""


class UnsupportedGuest(GuestError):
    """A kind of guest, or a part of one, that is not handled here."""


class ProgramFailed(GuestError):
    """A program that works on the guest is missing, failed or took too long."""


class Mismatch(ConversionError):
    """What was written is not what was read."""


class Cancelled(ConversionError):
    """Somebody asked for the end."""

    def __init__(self) -> None:
        super().__init__("cancelled")
