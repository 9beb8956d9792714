"""Whether a copied disk and its source are read again, and compared with the sums of the copy.

The annotation `mtv.dev/verify` of a Plan says it:

    none      nothing is read again (default)
    sample    a twentieth of the disk, chosen by chance, and at least 64 MiB
    full      all of it
"""

from __future__ import annotations

from collections.abc import Mapping

from mtv.errors import BadInput

ANNOTATION = "mtv.dev/verify"
NONE, SAMPLE, FULL = CHOICES = ("none", "sample", "full")


def parse(annotations: Mapping[str, str]) -> str:
    """Read the plan's annotation; "" for none. Raises BadInput that names it."""
    text = annotations.get(ANNOTATION, "").strip().lower()
    if text in ("", NONE):
        return ""
    if text not in CHOICES:
        raise BadInput(
            f"{text!r} is not understood",
            field=f"metadata.annotations[{ANNOTATION}]",
            hint=f"write one of {', '.join(CHOICES)}",
        )
    return text
