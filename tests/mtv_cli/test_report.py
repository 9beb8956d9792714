"""The report of a plan: facts, JSON, and a page that no name of a VM can break."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import msgspec
from mtv_planning import plans

from mtv.api.forklift import Plan, PlanStatus
from mtv.api.mtv import DiskTransfer
from mtv.cli import report, report_facts, report_page

NOW = datetime(2026, 1, 9, 13, tzinfo=UTC)
HOSTILE = '<script>alert("x")</script>'


def step(name: str, start: str, end: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "phase": "Completed" if end else "Running",
        "progress": {"completed": 0, "total": 1},
        "started": f"2026-01-09T{start}Z",
        **({"completed": f"2026-01-09T{end}Z"} if end else {}),
        **more,
    }


def condition(kind: str, **more: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True",
        "category": "Advisory",
        "lastTransitionTime": "x",
    } | more


def sample() -> tuple[Plan, list[DiskTransfer]]:
    vms = [
        {
            "id": "vm-34",
            "name": "web1",
            "newName": "web1",
            "phase": "Completed",
            "started": "2026-01-09T12:00:00Z",
            "completed": "2026-01-09T12:31:00Z",
            "conditions": [condition("Succeeded")],
            "pipeline": [
                step("Initialize", "12:00:00", "12:00:20"),
                step("DiskTransfer", "12:00:20", "12:28:00"),
                step("Cutover", "12:28:00", "12:29:10"),
                step("ImageConversion", "12:29:10", "12:30:40"),
                step("VirtualMachineCreation", "12:30:40", "12:31:00"),
            ],
            "warm": {
                "successes": 2,
                "failures": 0,
                "consecutiveFailures": 0,
                "downtimeSeconds": 165,
                "precopies": [
                    {"start": "2026-01-09T12:00:30Z", "end": "2026-01-09T12:18:00Z"},
                    {"start": "2026-01-09T12:20:00Z", "end": "2026-01-09T12:22:00Z"},
                ],
            },
        },
        {
            "id": "vm-35",
            "name": HOSTILE,
            "phase": "CopyDisks",
            "started": "2026-01-09T12:05:00Z",
            "pipeline": [step("Initialize", "12:05:00", "12:05:30"),
                         step("DiskTransfer", "12:05:30", error={"phase": "CopyDisks",
                                                                "reasons": ["SourceLocked"]})],
            "error": {"phase": "CopyDisks", "reasons": ["SourceLocked: the disk is locked"]},
        },
    ]  # fmt: skip
    critical = condition("VMNotFound", category="Critical", message="gone", suggestion="look")
    status = {
        "conditions": [condition("Failed"), critical],
        "migration": {"started": "2026-01-09T12:00:00Z", "vms": vms, "history": []},
    }
    base: Plan = plans.plan()
    plan = msgspec.structs.replace(base, status=msgspec.convert(status, PlanStatus))
    transfer = msgspec.convert(
        {
            "metadata": {"name": "web1-disk-0", "labels": {"plan": plan.metadata.uid}},
            "spec": {
                "provider": {"namespace": "mtv", "name": "vc"},
                "secret": {"namespace": "mtv", "name": "s"},
                "url": "https://vc",
                "vm": {"id": "vm-34", "name": "web1"},
                "disk": {
                    "key": 2000,
                    "file": "[ds1] web1/web1.vmdk",
                    "baseFile": "[ds1] web1/web1.vmdk",
                    "capacityBytes": 40 << 30,
                },
                "target": {"claimName": "web1-disk-0"},
            },
            "status": {
                "phase": "Succeeded",
                "transport": "https",
                "started": "2026-01-09T12:00:30Z",
                "completed": "2026-01-09T12:18:00Z",
                "doneBytes": 40 << 30,
                "fetchedBytes": 21 << 30,
                "writtenBytes": 20 << 30,
                "checksum": "xxh3:0123456789abcdef",
                "verified": "full",
            },
        },
        DiskTransfer,
    )
    return plan, [transfer]


def facts() -> report_facts.Facts:
    plan, transfers = sample()
    return report_facts.of(plan, transfers, NOW)


def test_facts_are_those_of_the_newest_run() -> None:
    found = facts()
    assert (found.outcome, found.problems) == ("Failed", (("VMNotFound", "gone", "look"),))
    first, second = found.vms
    assert (first.outcome, first.precopies, first.downtime_s) == ("Succeeded", 2, 165)
    assert [span.name for span in first.steps][:3] == ["Initialize", "DiskTransfer", "Precopy 1"]
    assert (second.outcome, second.errors) == ("Failed", ("SourceLocked: the disk is locked",))
    assert second.steps[-1].state == "Failed"
    (disk,) = found.disks
    assert disk.rate == (21 << 30) / 1050


def test_json_has_times_and_units_in_its_names() -> None:
    found = json.loads(json.dumps(report.document(facts())))
    assert found["started"] == "2026-01-09T12:00:00Z"
    assert found["vms"][0]["downtimeSeconds"] == 165
    assert found["vms"][0]["disks"][0]["fetchedBytes"] == 21 << 30
    assert found["problems"][0]["suggestion"] == "look"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_has_a_timeline_and_runs_nothing() -> None:
    parsed = _Tags()
    parsed.feed(report_page.page(facts()))
    assert "svg" in parsed.seen
    assert parsed.seen.count("rect") == 9  # seven steps and two precopies
    assert "script" not in parsed.seen
    assert HOSTILE in parsed.text


def test_page_of_a_plan_that_never_ran_says_so() -> None:
    plan: Plan = plans.plan()
    assert "Nothing has been done yet" in report_page.page(report_facts.of(plan, [], NOW))
