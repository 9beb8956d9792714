"""What `mtv plan watch` shows of a plan, and how it says that a plan has ended."""

from __future__ import annotations

from typing import Any

import msgspec
from mtv_planning import plans

from mtv.api.forklift import Plan, PlanStatus
from mtv.api.mtv import DiskTransfer, DiskTransferStatus
from mtv.cli import follow


def plan_with(**status: Any) -> Plan:
    vm = {
        "id": "vm-34",
        "name": "web1",
        "phase": "CopyDisks",
        "pipeline": [
            {"name": "Initialize", "phase": "Completed", "progress": {"completed": 1, "total": 1}},
            {
                "name": "DiskTransfer",
                "phase": "Running",
                "progress": {"completed": 512, "total": 1024},
                "tasks": [
                    {
                        "name": "[ds1] web1/web1.vmdk",
                        "phase": "Running",
                        "progress": {"completed": 512, "total": 1024},
                    }
                ],
            },
        ],
        **status.pop("vm", {}),
    }
    document = {
        "conditions": [
            {"type": kind, "status": "True", "category": "Advisory", "lastTransitionTime": "x"}
            for kind in status.pop("conditions", ["Executing"])
        ],
        "migration": {
            "vms": [vm],
            "history": [
                {
                    key: {"name": "n", "namespace": "mtv", "uid": "m-1"}
                    for key in ("plan", "migration")
                }
                | {
                    key: {
                        side: {"name": "n", "namespace": "mtv", "uid": "u"}
                        for side in ("source", "destination", "network", "storage")
                    }
                    for key in ("provider", "map")
                }
            ],
            **status,
        },
    }
    base: Plan = plans.plan()
    return msgspec.structs.replace(base, status=msgspec.convert(document, PlanStatus))


def transfer(**status: Any) -> DiskTransfer:
    made = msgspec.convert(
        {
            "metadata": {"name": "d"},
            "spec": {
                "provider": {"namespace": "mtv", "name": "vc"},
                "secret": {"namespace": "mtv", "name": "s"},
                "url": "https://vc/sdk",
                "vm": {"id": "vm-34", "name": "web1"},
                "disk": {
                    "key": 2000,
                    "file": "[ds1] web1/web1.vmdk",
                    "baseFile": "[ds1] web1/web1.vmdk",
                    "capacityBytes": 1 << 30,
                },
                "target": {"claimName": "d"},
            },
        },
        DiskTransfer,
    )
    return msgspec.structs.replace(made, status=DiskTransferStatus(**status))


def test_a_disk_is_shown_with_bytes_rate_and_time_left() -> None:
    found = follow.lines(
        plan_with(),
        [
            transfer(
                total_bytes=1 << 30,
                done_bytes=256 << 20,
                rate_per_second=64 << 20,
                transport="https",
            )
        ],
    )
    assert [follow.describe(one) for one in found] == [
        "web1  Initialize  Completed",
        "web1  [ds1] web1/web1.vmdk   25 %  256.0 MiB of 1.0 GiB  64.0 MiB/s  12 s left  https",
    ]


def test_without_the_transfer_the_task_says_it_in_mebibytes() -> None:
    found = follow.lines(plan_with(), [])
    assert follow.describe(found[1]) == "web1  [ds1] web1/web1.vmdk   50 %  512.0 MiB of 1.0 GiB"


def test_a_plan_has_ended_when_it_says_so_for_the_run_that_is_followed() -> None:
    running = plan_with()
    assert follow.outcome(running).state == ""
    done = plan_with(conditions=["Succeeded"], completed="2026-01-01T00:00:00Z")
    assert follow.outcome(done, "m-1").state == "Succeeded"
    assert follow.outcome(done, "m-2").state == ""


def test_reasons_are_those_of_the_vms() -> None:
    failed = plan_with(
        conditions=["Failed"],
        completed="2026-01-01T00:00:00Z",
        vm={"error": {"phase": "CopyDisks", "reasons": ["it is full"]}},
    )
    assert follow.outcome(failed).reasons == ("web1: it is full",)
