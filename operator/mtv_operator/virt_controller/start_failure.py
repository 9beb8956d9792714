"""Starts that failed are counted, and the next ones delayed: `status.startFailure`. Pure.

An instance that ended without ever having run is a failed start. The delay is 10·n² seconds and up
to half of that more, at most 300 (upstream: `defaultMaxCrashLoopBackoffDelaySeconds`). What is
added is no random number but made of the instance's uid, so that VMs spread and decisions repeat.
"""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta

from mtv.api import kubevirt
from mtv_operator.virt_controller import conditions, phases

FIRST_DELAY_S = 10
MOST_DELAY_S = 300


def delay_s(count: int, uid: str) -> int:
    """Return the delay after the `count`th failure in a row."""
    base = min(FIRST_DELAY_S * count * count, MOST_DELAY_S)
    return min(base + zlib.crc32(uid.encode()) % (base // 2 + 1), MOST_DELAY_S)


def counted(
    before: kubevirt.VirtualMachineStartFailure | None,
    instance: kubevirt.VirtualMachineInstance | None,
    now: datetime,
) -> kubevirt.VirtualMachineStartFailure | None:
    """Return the failures with this instance counted; None once an instance has run."""
    if instance is None:
        return before
    if phases.ever_ran(instance):
        return None
    uid = instance.metadata.uid
    if not phases.is_final(instance) or (before and before.last_failed_vmiuid == uid):
        return before
    count = (before.consecutive_fail_count or 0) + 1 if before else 1
    retry_after = now + timedelta(seconds=delay_s(count, uid))
    return kubevirt.VirtualMachineStartFailure(
        consecutive_fail_count=count,
        last_failed_vmiuid=uid,
        retry_after_timestamp=conditions.timestamp(retry_after),
    )
