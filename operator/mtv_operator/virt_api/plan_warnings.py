"""What a plan or a map asks for in vain: said when it is applied. Pure.

Nothing is refused here: what keeps a plan from running is said by its conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mtv.api import forklift
from mtv.planning import plan_checks
from mtv_operator.virt_api.honoured import MESSAGE

HOOKS = "hooks are not run yet; the plan is stored and does not run"


def of_plan(document: Mapping[str, Any]) -> Sequence[str]:
    """Return the warnings for a Plan."""
    try:
        plan = msgspec.convert(document, forklift.Plan)
    except msgspec.ValidationError:
        return ()  # the CRD's schema says it better
    hooks = [
        f"spec.vms[{index}].hooks: {HOOKS}" for index, vm in enumerate(plan.spec.vms) if vm.hooks
    ]
    ignored = [f"{path}: {MESSAGE}" for path in plan_checks.not_honoured(plan.spec)]
    return (*hooks, *ignored)


def of_storage_map(document: Mapping[str, Any]) -> Sequence[str]:
    """Return the warnings for a StorageMap."""
    entries = (document.get("spec") or {}).get("map") or ()
    return [
        f"spec.map[{index}].offloadPlugin: {MESSAGE}"
        for index, entry in enumerate(entries)
        if isinstance(entry, Mapping) and entry.get("offloadPlugin")
    ]
