"""Where `mtv` begins: plain conversions go their short way, all else through Typer.

Importing Typer takes 0.3 s, as long as copying a small disk.
"""

from __future__ import annotations

import os
import sys

from mtv.cli import ending


def run() -> None:
    """Run `mtv` and end the process with the error's own exit code."""
    if sys.argv[1:2] == ["convert"] and not {"_MTV_COMPLETE", "MTV_LOG"} & os.environ.keys():
        from mtv.cli import conversions

        wish = conversions.plain(sys.argv[2:])
        if wish is not None:
            ending.ended(lambda: conversions.convert(wish))
            return
    from mtv.cli import main

    main.run()
