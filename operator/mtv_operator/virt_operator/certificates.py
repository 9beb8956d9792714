"""The certificates of the runtime's components: names are upstream's. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from mtv.api import installation
from mtv_operator.certificates.issuing import Identity
from mtv_operator.certificates.rotation import Lifetimes

AUTHORITY = "kubevirt-ca"  # the Secret, and the ConfigMap with what is to be believed
MONITORED = "kubevirt-prometheus-metrics.kubevirt.svc"
SERVERS: Mapping[str, Identity] = {
    "kubevirt-virt-api-certs": Identity(
        common_name="virt-api",
        addresses=("virt-api", "virt-api.kubevirt", "virt-api.kubevirt.svc"),
    ),
    "kubevirt-controller-certs": Identity(
        common_name="virt-controller", addresses=("virt-controller", MONITORED)
    ),
    "kubevirt-virt-handler-server-certs": Identity(
        common_name="virt-handler", addresses=("virt-handler",)
    ),
}
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def lifetimes(kubevirt: installation.KubeVirt) -> Lifetimes:
    """Return what the KubeVirt object asks for; upstream's values where it says nothing."""
    strategy = kubevirt.spec.certificate_rotate_strategy
    given = strategy.self_signed if strategy is not None else None
    standard = Lifetimes()
    if given is None:
        return standard
    ca = given.ca or installation.CertConfig()
    server = given.server or installation.CertConfig()
    return Lifetimes(
        authority=_duration(ca.duration, standard.authority),
        authority_renew=_duration(ca.renew_before, standard.authority_renew),
        server=_duration(server.duration, standard.server),
        server_renew=_duration(server.renew_before, standard.server_renew),
    )


def _duration(text: str | None, standard: timedelta) -> timedelta:
    """Return a duration as Go writes it (`168h0m0s`)."""
    found = _DURATION.fullmatch(text or "")
    if not text or found is None:
        return standard
    hours, minutes, seconds = (int(one or 0) for one in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds) or standard
