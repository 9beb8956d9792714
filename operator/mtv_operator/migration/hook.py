"""A Hook: is it one that can be run."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from mtv.api import forklift
from mtv.api.forklift import Condition
from mtv_operator.migration import conditions
from mtv_operator.migration.conditions import Category
from mtv_operator.reconciling import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A Hook."""

    hook: forklift.Hook


def decide(observed: Observed, now: datetime) -> Decision[None, forklift.HookStatus]:
    """Return the conditions of a Hook."""
    hook = observed.hook
    found = tuple(_found(hook.spec))
    found = (*found, *conditions.ready(found, "The hook is ready."))
    before = hook.status.conditions if hook.status else ()
    return Decision(
        status=forklift.HookStatus(
            conditions=conditions.merge(before, found, now),
            observed_generation=hook.metadata.generation,
        )
    )


def _found(spec: forklift.HookSpec) -> Iterator[Condition]:
    if spec.aap is not None and (spec.image or spec.playbook):
        yield _critical("InvalidHookExecute", "spec.aap excludes spec.image and spec.playbook")
    elif spec.aap is None and not spec.image and not spec.playbook:
        yield _critical("InvalidImage", "one of spec.image, spec.playbook, spec.aap must be set")
    if spec.playbook:
        try:
            base64.b64decode(spec.playbook, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            yield _critical("InvalidPlaybook", "spec.playbook is no base64 of UTF-8 text")
    if spec.deadline is not None and spec.deadline < 0:
        yield _critical("InvalidHookExecute", "spec.deadline is less than zero seconds")
    if spec.aap is not None:
        yield conditions.condition(
            "FieldNotHonoured",
            Category.ADVISORY,
            "job templates of the Ansible Automation Platform are stored and not run yet",
            reason="NotSupported",
            items=("spec.aap",),
        )


def _critical(kind: str, message: str) -> Condition:
    return conditions.condition(kind, Category.CRITICAL, message, reason="NotValid")
