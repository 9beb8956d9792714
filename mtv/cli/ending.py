"""How a command ends: the one place where errors are printed and become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from mtv import errors

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def ended(command: Callable[[], object]) -> None:
    """Run a command; end the process with the error's own exit code if there is one."""
    try:
        command()
    except errors.MigrationError as error:
        show(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; the interpreter must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def show(error: errors.MigrationError) -> None:
    """Print an error as people read it: what is wrong, then the way out."""
    print(f"error: {error}", file=sys.stderr)
    if error.hint:
        print(f"\nhint: {error.hint}", file=sys.stderr)
