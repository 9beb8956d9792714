"""The annotation that says how a source is stopped."""

from __future__ import annotations

import pytest

from mtv.errors import BadInput
from mtv.planning import power_off
from mtv.planning.power_off import PowerOff


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (None, PowerOff(timeout_s=600)),
        ("graceful", PowerOff(timeout_s=600)),
        ("graceful; timeout=30m", PowerOff(timeout_s=1800)),
        ("Graceful;timeout = 90s", PowerOff(timeout_s=90)),
        ("force-after=5m", PowerOff(timeout_s=300, force=True)),
        ("force-after=1h30m", PowerOff(timeout_s=5400, force=True)),
        ("force", PowerOff(timeout_s=0, force=True)),
    ],
)
def test_annotation_is_read(text: str | None, policy: PowerOff) -> None:
    annotations = {power_off.ANNOTATION: text} if text is not None else {}
    assert power_off.parse(annotations) == policy


@pytest.mark.parametrize("text", ["now", "force-after=", "force-after=5", "graceful; timeout=99h"])
def test_what_is_not_understood_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        power_off.parse({power_off.ANNOTATION: text})
    assert caught.value.field == "metadata.annotations[mtv.dev/power-off]"
    assert caught.value.hint
