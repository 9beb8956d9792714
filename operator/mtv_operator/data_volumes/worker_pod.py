"""The pod that fills a claim. Pure.

It needs no access to the API server: what to do stands on its command line, what it found out in
its termination message. Container images are mounted, so whoever runs pods pulls them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from mtv import errors
from mtv.api import cdi, core, meta, quantities, upload_token
from mtv_operator.data_volumes import claim as claims
from mtv_operator.data_volumes import names

DATA, DEVICE, SCRATCH = "/data", "/dev/target", "/scratch"
IMAGE, SOURCE, SOURCE_DEVICE = "/image", "/source", "/dev/source"
LOGIN, CERTIFICATES, KEY = "/etc/login", "/etc/certificates", "/etc/upload"
GRACE_PERIOD_S = 5
TRANSPORTS = ("docker://", "oci://")


def name_of(claim: core.PersistentVolumeClaim) -> str:
    """Return the pod's name: one per claim, whoever makes it."""
    digest = hashlib.sha256(claim.metadata.uid.encode()).hexdigest()[:8]
    return f"fill-{claim.metadata.name[:40].rstrip('-.')}-{digest}"


def build(
    claim: core.PersistentVolumeClaim,
    source: cdi.DataVolumeSource,
    source_claim: core.PersistentVolumeClaim | None,
    image: str,
) -> core.Pod:
    """Return the pod. Raises BadInput for a source that is not read here."""
    volumes, mounts, devices = _target(claim)
    more, pull_secrets = _of_source(claim, source, source_claim)
    for volume, mount, device in more:
        volumes.append(volume)
        mounts += [mount] if mount is not None else []
        devices += [device] if device is not None else []
    container = core.Container(
        name=names.CONTAINER,
        image=image,
        command=command(claim, source),
        volume_mounts=tuple(mounts),
        volume_devices=tuple(devices),
        readiness_probe=_probe() if source.upload is not None else None,
        ports=(core.ContainerPort(container_port=names.PORT),) if source.upload is not None else (),
        resources=core.ResourceRequirements(
            requests={"cpu": "100m", "memory": "64Mi"}, limits={"memory": "512Mi"}
        ),
        security_context=core.SecurityContext(
            allow_privilege_escalation=False, capabilities=core.Capabilities(drop=("ALL",))
        ),
        termination_message_policy="FallbackToLogsOnError",
    )
    return core.Pod(
        metadata=meta.ObjectMeta(
            name=name_of(claim),
            namespace=claim.metadata.namespace,
            labels={names.APP: names.WORKER},
            owner_references=(meta.owner_of(claim),),
        ),
        spec=core.PodSpec(
            containers=(container,),
            volumes=tuple(volumes),
            restart_policy="OnFailure",
            termination_grace_period_seconds=GRACE_PERIOD_S,
            automount_service_account_token=False,
            image_pull_secrets=pull_secrets,
            security_context=core.PodSecurityContext(
                run_as_user=names.USER,
                run_as_group=names.USER,
                run_as_non_root=True,
                fs_group=names.USER,
                fs_group_change_policy="OnRootMismatch",
                seccomp_profile=core.SeccompProfile(type="RuntimeDefault"),
            ),
        ),
    )


def command(claim: core.PersistentVolumeClaim, source: cdi.DataVolumeSource) -> tuple[str, ...]:
    """Return the worker's command line."""
    return (
        *("python3", "-m", "mtv_operator.data_volumes.worker"),
        *("--source", msgspec.json.encode(source).decode()),
        *("--capacity", str(capacity_bytes(claim))),
    )


def capacity_bytes(claim: core.PersistentVolumeClaim) -> int:
    """Return the largest disk that a claim is meant for."""
    spec = claim.spec or core.PersistentVolumeClaimSpec()
    asked = spec.resources.requests.get("storage") if spec.resources else None
    size = quantities.whole(asked) if asked is not None else 0
    return size if spec.volume_mode == "Block" else int(size * (1 - claims.OVERHEAD))


_Volumes = tuple[core.Volume, core.VolumeMount | None, core.VolumeDevice | None]


def _target(
    claim: core.PersistentVolumeClaim,
) -> tuple[list[core.Volume], list[core.VolumeMount], list[core.VolumeDevice]]:
    made = _claimed("data", claim, DATA, DEVICE)
    scratch = core.Volume(name="scratch", empty_dir=core.EmptyDirVolumeSource())
    mounts = [core.VolumeMount(name="scratch", mount_path=SCRATCH)]
    return (
        [made[0], scratch],
        [*([made[1]] if made[1] is not None else []), *mounts],
        [made[2]] if made[2] is not None else [],
    )


def _claimed(
    name: str, claim: core.PersistentVolumeClaim, folder: str, device: str, *, read: bool = False
) -> _Volumes:
    source = core.PersistentVolumeClaimVolumeSource(claim_name=claim.metadata.name)
    volume = core.Volume(name=name, persistent_volume_claim=source)
    if claim.spec is not None and claim.spec.volume_mode == "Block":
        return volume, None, core.VolumeDevice(name=name, device_path=device)
    mount = core.VolumeMount(name=name, mount_path=folder, read_only=read or None)
    return volume, mount, None


def _of_source(
    claim: core.PersistentVolumeClaim,
    source: cdi.DataVolumeSource,
    source_claim: core.PersistentVolumeClaim | None,
) -> tuple[Sequence[_Volumes], tuple[core.LocalObjectReference, ...]]:
    """Return the volumes that a source is read from, and the secrets for its registry."""
    if source.http is not None:
        given = ((source.http.secret_ref, None, LOGIN), (None, source.http.cert_config_map, ""))
        found = [_files("login", secret, path) for secret, _, path in given if secret]
        if source.http.cert_config_map:
            config_map = core.ConfigMapVolumeSource(name=source.http.cert_config_map)
            mount = core.VolumeMount(name="certificates", mount_path=CERTIFICATES, read_only=True)
            found.append((core.Volume(name="certificates", config_map=config_map), mount, None))
        return found, ()
    if source.registry is not None:
        volume = core.Volume(name="image", image={"reference": reference_of(source.registry)})
        mount = core.VolumeMount(name="image", mount_path=IMAGE, read_only=True)
        secret = source.registry.secret_ref
        secrets = (core.LocalObjectReference(name=secret),) if secret else ()
        return [(volume, mount, None)], secrets
    if source.pvc is not None:
        if source.pvc.namespace not in ("", claim.metadata.namespace) or source_claim is None:
            raise errors.BadInput(
                "a claim can be cloned only within its namespace",
                field="spec.source.pvc.namespace",
                hint="export the disk, or make the DataVolume beside its source",
            )
        return [_claimed("source", source_claim, SOURCE, SOURCE_DEVICE, read=True)], ()
    if source.upload is not None:
        return [_files("key", upload_token.secret_name(claim.metadata.name), KEY)], ()
    kinds = [name for name, value in msgspec.to_builtins(source).items() if value is not None]
    raise errors.BadInput(
        f"the source {', '.join(kinds) or '(none)'} is not supported",
        field="spec.source",
        hint="use blank, http, registry, pvc or upload",
    )


def reference_of(source: cdi.DataVolumeSourceRegistry) -> str:
    """Return the image's name out of a registry URL. Raises BadInput."""
    url = source.url or ""
    for transport in TRANSPORTS:
        if url.startswith(transport):
            return url.removeprefix(transport)
    raise errors.BadInput(
        f"{url[:200]!r} names no image in a registry",
        field="spec.source.registry.url",
        hint="write docker://registry/repository:tag",
    )


def _files(name: str, secret: str, path: str) -> _Volumes:
    volume = core.Volume(name=name, secret=core.SecretVolumeSource(secret_name=secret))
    return volume, core.VolumeMount(name=name, mount_path=path, read_only=True), None


def _probe() -> core.ContainerProbe:
    return core.ContainerProbe(
        http_get=core.HTTPGetAction(path="/healthz", port=names.PORT), period_seconds=1
    )
