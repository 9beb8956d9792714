"""Seeds for cloud-init, NoCloud and ConfigDrive: which files, with what in them. Pure.

The NoCloud instance-id is the firmware's UUID: it stays over restarts, so that a guest does not
take each start for its first.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence

import msgspec

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher.domain import firmware

NO_CLOUD_LABEL = "cidata"
CONFIG_DRIVE_LABEL = "config-2"
FILES_LABEL = "cfgdata"
SYSPREP_LABEL = "unattendCD"
# Keys of the Secret that upstream accepts, in the order in which it looks.
USER_KEYS = ("userdata", "userData")
NETWORK_KEYS = ("networkdata", "networkData")

Source = kubevirt.CloudInitNoCloudSource | kubevirt.CloudInitConfigDriveSource


def hostname(vmi: kubevirt.VirtualMachineInstance) -> str:
    """Return the guest's name: the spec's, or the VMI's without what a host name may not have."""
    name = vmi.spec.hostname or vmi.metadata.name
    return re.sub(r"[^A-Za-z0-9-]+", "-", name.split(".")[0]).strip("-")[:63]


def no_cloud(
    vmi: kubevirt.VirtualMachineInstance,
    volume: str,
    source: kubevirt.CloudInitNoCloudSource,
    secrets: Mapping[str, bytes],
    keys: Sequence[str] = (),
) -> dict[str, bytes]:
    """Return the files of a NoCloud seed. `secrets` are the contents of the referred Secrets.

    `keys` are public keys that cloud-init lets in by ssh.
    """
    user, network = _texts(volume, source, secrets)
    meta: dict[str, object] = {
        "instance-id": firmware.system_uuid(vmi),
        "local-hostname": hostname(vmi),
    }
    if keys:
        meta["public-keys"] = _numbered(keys)
    files = {
        "meta-data": msgspec.json.encode(meta) + b"\n",  # JSON is YAML, and needs no quoting rules
        "user-data": user if user is not None else b"#cloud-config\n{}\n",
    }
    if network is not None:
        files["network-config"] = network
    return files


def config_drive(
    vmi: kubevirt.VirtualMachineInstance,
    volume: str,
    source: kubevirt.CloudInitConfigDriveSource,
    secrets: Mapping[str, bytes],
    keys: Sequence[str] = (),
) -> dict[str, bytes]:
    """Return the files of an OpenStack config drive."""
    user, network = _texts(volume, source, secrets)
    uuid, name = firmware.system_uuid(vmi), hostname(vmi)
    meta: dict[str, object] = {
        "instance_id": uuid,
        "uuid": uuid,
        "hostname": name,
        "local_hostname": name,
    }
    if keys:
        meta["public_keys"] = _numbered(keys)
    folder = "openstack/latest"
    files = {f"{folder}/meta_data.json": msgspec.json.encode(meta)}
    if user is not None:
        files[f"{folder}/user_data"] = user
    if network is not None:
        files[f"{folder}/network_data.json"] = network
    return files


def _numbered(keys: Sequence[str]) -> dict[str, str]:
    return {str(number): key for number, key in enumerate(keys)}


def _texts(
    volume: str, source: Source, secrets: Mapping[str, bytes]
) -> tuple[bytes | None, bytes | None]:
    """Return user and network data: inline, base64 or from a Secret, the Secret last."""
    kind = type(source).__name__.removesuffix("Source")
    field = f"spec.volumes[{volume}].{kind[0].lower()}{kind[1:]}"
    user = _inline(source.user_data, source.user_data_base64, f"{field}.userDataBase64")
    network = _inline(source.network_data, source.network_data_base64, f"{field}.networkDataBase64")
    if user is None and source.secret_ref is not None:
        user = _from_secret(secrets, USER_KEYS, source.secret_ref.name, f"{field}.secretRef")
    if network is None and source.network_data_secret_ref is not None:
        name = source.network_data_secret_ref.name
        network = _from_secret(secrets, NETWORK_KEYS, name, f"{field}.networkDataSecretRef")
    return user, network


def _inline(text: str | None, encoded: str | None, field: str) -> bytes | None:
    if text:
        return text.encode()
    if not encoded:
        return None
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as fault:
        raise errors.BadInput(f"not base64: {fault}", field=field) from fault


def _from_secret(
    secrets: Mapping[str, bytes], keys: tuple[str, ...], name: str | None, field: str
) -> bytes:
    for key in keys:
        if key in secrets:
            return secrets[key]
    raise errors.BadInput(
        f"Secret {name} has no key {' or '.join(keys)}",
        field=field,
        hint="give the data under one of these keys",
    )
