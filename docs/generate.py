"""Write `docs/reference/` from the code: `make docs`."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import redirect_stdout, suppress
from pathlib import Path

from mtv.cli import main
from mtv.planning import concerns, package_concerns

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by `make docs`; change the code instead. -->\n\n"


def concern_page() -> str:
    """Return the page that lists the concern rules."""
    head = (
        "# Concerns\n\nWhat `mtv plan check` says about a source VM. Ids that begin "
        "with `vmware.` or `ova.` are Forklift's.\n\n| id | category | label |\n|---|---|---|\n"
    )
    return head + "".join(
        f"| `{rule.id}` | {rule.category} | {rule.label} |\n"
        for rule in (*concerns.RULES, *package_concerns.RULES)
    )


def command_page() -> str:
    """Return the page with the help of every command."""
    parts = ["# Commands\n\nAs `--help` prints it.\n"]
    for name in main.COMMANDS:
        command = main.load(name)
        parts += [f"\n## mtv {name}\n", *(_help(words) for words in _paths(name, command))]
    return "".join(parts)


def _paths(name: str, command: object) -> Iterable[tuple[str, ...]]:
    yield (name,)
    for child in sorted(getattr(command, "commands", {}) or {}):
        yield (name, child)


def _help(words: tuple[str, ...]) -> str:
    out = io.StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        main.app([*words, "--help"], prog_name="mtv")
    return f"\n```\n{out.getvalue().strip()}\n```\n"


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for page, text in (("concerns", concern_page()), ("commands", command_page())):
        (REFERENCE / f"{page}.md").write_text(NOTE + text)
