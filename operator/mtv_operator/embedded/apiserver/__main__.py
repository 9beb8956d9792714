"""`python -m mtv_operator.embedded.apiserver`."""

from __future__ import annotations

from mtv_operator.embedded.apiserver import main

main.run()
