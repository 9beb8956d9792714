"""The page of a report: one file, no scripts, nothing fetched. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from html import escape

from mtv.cli.follow import size
from mtv.cli.report_facts import DiskFacts, Facts, Span, VMFacts, duration

_COLOURS = {
    "Initialize": "#94a3b8",
    "PreHook": "#c084fc",
    "DiskTransfer": "#3b82f6",
    "Cutover": "#f97316",
    "ImageConversion": "#14b8a6",
    "VirtualMachineCreation": "#22c55e",
    "PostHook": "#a855f7",
}
_PRECOPY, _FAILED = "#93c5fd", "#dc2626"
_LABEL, _WIDTH, _ROW, _TOP = 190, 1000, 34, 34
_TICKS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 604800)
_STYLE = """
:root{color-scheme:light dark;--ink:#0f172a;--soft:#64748b;--line:#e2e8f0;--card:#fff;
--back:#f8fafc}
@media(prefers-color-scheme:dark){:root{--ink:#e2e8f0;--soft:#94a3b8;--line:#334155;--card:#1e293b;
--back:#0f172a}}
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}main{max-width:1100px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 12px}
.soft{color:var(--soft)}.card{background:var(--card);border:1px solid var(--line);
border-radius:10px;padding:16px 20px;overflow-x:auto}.tiles{display:grid;gap:12px;margin-top:20px;
grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}.tiles b{display:block;font-size:20px;
white-space:nowrap}
table{border-collapse:collapse;width:100%}th,td{padding:7px 12px 7px 0;text-align:left;
border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--soft);font-weight:600;
font-size:13px}tr:last-child td{border-bottom:0}td.k{width:1%;white-space:nowrap}
td.n,th.n{text-align:right;white-space:nowrap}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}.badge{display:inline-block;
border-radius:99px;padding:1px 10px;font-size:13px;font-weight:600;color:#fff;background:#64748b}
.Succeeded{background:#15803d}.Failed{background:#b91c1c}.Canceled{background:#a16207}
.Executing,.Running{background:#1d4ed8}.error{color:#b91c1c}svg text{fill:var(--ink);
font:13px system-ui,sans-serif}svg .t{fill:var(--soft);font-size:12px}svg .g{stroke:var(--line)}
.key{display:flex;flex-wrap:wrap;gap:6px 18px;margin-top:8px;font-size:13px}
.key i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px}
"""


def page(facts: Facts) -> str:
    """Return the whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Plan {escape(facts.plan)}</title><style>{_STYLE}</style></head><body><main>"
        f"{_head(facts)}{_tiles(facts)}{_problems(facts)}"
        f"<h2>Timeline</h2><div class=card>{timeline(facts)}</div>"
        f"<h2>Virtual machines</h2><div class=card>{_vms(facts)}</div>"
        f"<h2>Disks</h2><div class=card>{_disks(facts)}</div>"
        "</main></body></html>\n"
    )


def _head(facts: Facts) -> str:
    when = _clock(facts.started) if facts.started else "not started yet"
    return (
        f"<h1>Plan {escape(facts.plan)} {_badge(facts.outcome)}</h1>"
        f"<div class=soft>{escape(facts.type)} migration of namespace {escape(facts.namespace)} "
        f"into {escape(facts.target_namespace)} · {when} · written {_clock(facts.written)}</div>"
    )


def _tiles(facts: Facts) -> str:
    disks = facts.disks
    end = facts.completed or facts.written
    took = (end - facts.started).total_seconds() if facts.started else None
    downtimes = [vm.downtime_s for vm in facts.vms if vm.downtime_s is not None]
    tiles = [
        ("VMs moved", f"{sum(vm.outcome == 'Succeeded' for vm in facts.vms)} of {len(facts.vms)}"),
        ("took", duration(took)),
        ("on disks", size(sum(disk.capacity_bytes for disk in disks))),
        ("came over the wire", size(sum(disk.fetched_bytes for disk in disks))),
        ("verified disks", f"{sum(bool(disk.verified) for disk in disks)} of {len(disks)}"),
    ]
    if downtimes:
        tiles.append(("longest downtime", duration(max(downtimes))))
    shown = "".join(
        f"<div class=card><b>{escape(value)}</b><span class=soft>{escape(title)}</span></div>"
        for title, value in tiles
    )
    return f"<div class=tiles>{shown}</div>"


def _problems(facts: Facts) -> str:
    if not facts.problems:
        return ""
    rows = "".join(
        f"<tr><td class=k><b>{escape(kind)}</b></td><td>{escape(message)}"
        + (f"<div class=soft>→ {escape(advice)}</div>" if advice else "")
        + "</td></tr>"
        for kind, message, advice in facts.problems
    )
    return f"<h2>To know</h2><div class=card><table>{rows}</table></div>"


def _badge(outcome: str) -> str:
    return f'<span class="badge {escape(outcome.split()[0])}">{escape(outcome)}</span>'


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


# -- the timeline


def timeline(facts: Facts) -> str:
    """Return the picture: a row for each VM, a bar for each step."""
    shown = [vm for vm in facts.vms if vm.steps]
    if not shown:
        return "<div class=soft>Nothing has been done yet.</div>"
    begin = min(span.start for vm in shown for span in vm.steps)
    last = max(span.end or facts.written for vm in shown for span in vm.steps)
    total_s = max((last - begin).total_seconds(), 1.0)
    height = _TOP + _ROW * len(shown) + 6
    parts = [
        f'<svg viewBox="0 0 {_LABEL + _WIDTH + 10} {height}" width="100%" role="img" '
        f'aria-label="Timeline of plan {escape(facts.plan)}">',
        *_ticks(begin, total_s, height),
    ]
    for at, vm in enumerate(shown):
        parts += _row(vm, _TOP + _ROW * at, begin, total_s, facts.written)
    parts.append("</svg>")
    return "".join(parts) + _key(shown)


def _ticks(begin: datetime, total_s: float, height: int) -> Iterable[str]:
    step = next((one for one in _TICKS_S if total_s / one <= 8), _TICKS_S[-1])
    at = 0
    while at <= total_s:
        x = _LABEL + at / total_s * _WIDTH
        yield f'<line class=g x1="{x:.1f}" x2="{x:.1f}" y1="22" y2="{height}"/>'
        text = (begin + timedelta(seconds=at)).strftime("%H:%M:%S" if step < 60 else "%H:%M")
        anchor = "start" if at == 0 else "middle" if total_s - at > total_s / 40 else "end"
        yield f'<text class=t x="{x:.1f}" y="15" text-anchor="{anchor}">{text}</text>'
        at += step


def _row(vm: VMFacts, y: int, begin: datetime, total_s: float, now: datetime) -> Iterable[str]:
    name = vm.name if len(vm.name) <= 24 else f"{vm.name[:23]}…"
    yield f'<text x="0" y="{y + 19}">{escape(name)}<title>{escape(vm.name)}</title></text>'
    # Long ones first, so that what happens meanwhile (a precopy in a transfer) is seen.
    spans = sorted(vm.steps, key=lambda one: one.start - (one.end or now))
    for span in spans:
        end = span.end or now
        x = _LABEL + (span.start - begin).total_seconds() / total_s * _WIDTH
        width = max((end - span.start).total_seconds() / total_s * _WIDTH, 2.0)
        inner = span.name.startswith("Precopy")
        top, tall = (y + 9, 8) if inner else (y + 4, 20)
        text = f"{span.name}: {duration((end - span.start).total_seconds())}"
        text += "" if span.end else ", goes on"
        yield (
            f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{tall}" rx="3" '
            f'fill="{_colour(span)}"><title>{escape(text)}</title></rect>'
        )


def _colour(span: Span) -> str:
    if span.state == "Failed":
        return _FAILED
    return _PRECOPY if span.name.startswith("Precopy") else _COLOURS.get(span.name, "#64748b")


def _key(shown: Iterable[VMFacts]) -> str:
    seen = {
        ("Failed" if span.state == "Failed" else span.name.split()[0]): _colour(span)
        for vm in shown
        for span in vm.steps
    }
    items = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in seen.items()
    )
    return f"<div class=key>{items}</div>"


# -- tables


def _vms(facts: Facts) -> str:
    rows = "".join(_vm_row(vm, facts.written) for vm in facts.vms)
    return (
        "<table><tr><th>VM</th><th>becomes</th><th>outcome</th><th class=n>took</th>"
        "<th class=n>precopies</th><th class=n>downtime</th></tr>" + rows + "</table>"
    )


def _vm_row(vm: VMFacts, now: datetime) -> str:
    took = ((vm.completed or now) - vm.started).total_seconds() if vm.started else None
    said = "".join(f"<div class=error>{escape(one)}</div>" for one in vm.errors)
    said += "".join(f"<div class=soft>{escape(one)}</div>" for one in vm.notes)
    if vm.downtime_s is not None:
        down = duration(vm.downtime_s)
    elif vm.predicted_downtime_s is not None:
        down = f"{duration(vm.predicted_downtime_s)} predicted"
    else:
        down = "–"
    phase = "" if vm.phase == "Completed" else f" <span class=soft>{escape(vm.phase)}</span>"
    return (
        f"<tr><td>{escape(vm.name)} <span class=soft>{escape(vm.id)}</span>{said}</td>"
        f"<td>{escape(vm.target) or '–'}</td><td>{_badge(vm.outcome)}{phase}</td>"
        f"<td class=n>{duration(took)}</td><td class=n>{vm.precopies or '–'}</td>"
        f"<td class=n>{down}</td></tr>"
    )


def _disks(facts: Facts) -> str:
    if not facts.disks:
        return "<div class=soft>No disk has been copied.</div>"
    rows = "".join(_disk_row(vm, disk) for vm in facts.vms for disk in vm.disks)
    return (
        "<table><tr><th>disk</th><th>state</th><th class=n>size</th><th class=n>fetched</th>"
        "<th class=n>data</th><th class=n>time</th><th class=n>rate</th><th>by</th>"
        "<th>verified</th></tr>" + rows + "</table>"
    )


def _disk_row(vm: VMFacts, disk: DiskFacts) -> str:
    rate = f"{size(disk.rate)}/s" if disk.rate else "–"
    total = f"<div class=soft><code>{escape(disk.checksum)}</code></div>" if disk.checksum else ""
    return (
        f"<tr><td><code>{escape(disk.file)}</code><div class=soft>{escape(vm.name)} → "
        f"{escape(disk.target)}</div>{total}</td><td>{_badge(disk.state)}</td>"
        f"<td class=n>{size(disk.capacity_bytes)}</td><td class=n>{size(disk.fetched_bytes)}</td>"
        f"<td class=n>{size(disk.written_bytes)}</td><td class=n>{duration(disk.seconds)}</td>"
        f"<td class=n>{rate}</td><td>{escape(disk.transport) or '–'}</td>"
        f"<td>{escape(disk.verified) or 'no'}</td></tr>"
    )
