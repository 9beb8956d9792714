"""Annotations of claims, CDI's where others read them, and what pods and containers are called."""

from __future__ import annotations

from mtv.api import core

SOURCE = "mtv.dev/data-volume-source"  # cdi.DataVolumeSource as JSON
UPLOAD = "cdi.kubevirt.io/storage.upload.target"
POD_PHASE = "cdi.kubevirt.io/storage.pod.phase"
POD_READY = "cdi.kubevirt.io/storage.pod.ready"
POD_RESTARTS = "cdi.kubevirt.io/storage.pod.restarts"
RUNNING_MESSAGE = "cdi.kubevirt.io/storage.condition.running.message"
CONTENT_TYPE = "cdi.kubevirt.io/storage.contentType"
DONE = "Succeeded"

APP = "app.kubernetes.io/name"
WORKER = "mtv-data-volume"
CONTAINER = "worker"
USER = 107  # QEMU's, as upstream: nobody has to change the disk's owner afterwards
PORT = 8080


def is_to_fill(claim: core.PersistentVolumeClaim) -> bool:
    """Tell whether a claim is filled by us, or was."""
    return SOURCE in claim.metadata.annotations or UPLOAD in claim.metadata.annotations


def is_filled(claim: core.PersistentVolumeClaim) -> bool:
    """Tell whether a claim holds its disk, or never needed one."""
    return not is_to_fill(claim) or claim.metadata.annotations.get(POD_PHASE) == DONE
