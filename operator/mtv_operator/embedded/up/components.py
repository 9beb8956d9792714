"""The processes of one installation, and how each is started. Pure."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtv_operator.embedded.up.credentials import Credentials
from mtv_operator.embedded.up.settings import (
    CONTROLLER_METRICS_PORT,
    HANDLER_METRICS_PORT,
    HANDLER_PORT,
    VIRT_API_PORT,
    Settings,
)
from mtv_operator.embedded.up.supervisor import Component

# glibc gives each thread an arena of its own; two are enough and save half the memory.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
BOOTSTRAP = "bootstrap"


def build(settings: Settings, credentials: Credentials) -> list[Component]:
    """Return the components, in the order in which they are shown."""
    kubeconfig = {
        name: ("--kubeconfig", str(path)) for name, path in credentials.kubeconfigs.items()
    }
    data = ("--data-dir", settings.data_dir)
    found = [
        _component("apiserver", "mtv-apiserver", *_apiserver(settings, credentials)),
        Component(
            name=BOOTSTRAP,
            argv=(sys.executable, "-m", "mtv_operator.embedded.up.bootstrap", *data),
            environment=ENVIRONMENT,
            task=True,
        ),
        _after("scheduler", "mtv-scheduler", *data, *kubeconfig["scheduler"]),
        _after(
            "controller",
            "mtv-controller",
            *("--transfer-host-network", *kubeconfig["controller"]),
            *("--controllers", "migration,virtual-machines,data-volumes"),
            *("--hook-folder", f"{settings.data_dir}/hooks"),
            *("--metrics-listen", f"{settings.network.gateway}:{CONTROLLER_METRICS_PORT}"),
            *("--tls-cert", str(credentials.virt_api.certificate)),
            *("--tls-key", str(credentials.virt_api.key)),
        ),
        _after("virt-api", "virt-api", *_virt_api(settings, credentials, kubeconfig)),
        _after("inventory", "mtv-inventory", *_inventory(settings, credentials, kubeconfig)),
    ]
    for index, name in enumerate(settings.node_names(), 1):
        found.append(
            _after(f"node-{name}", "mtv-node", *data, "--node", name, *kubeconfig[f"node-{name}"])
        )
        found.append(_handler(settings, credentials, kubeconfig, name, index))
    return [one for one in found if one.name not in settings.without]


def _component(name: str, command: str, *arguments: str) -> Component:
    return Component(name=name, argv=(executable(command), *arguments), environment=ENVIRONMENT)


def _after(name: str, command: str, *arguments: str) -> Component:
    return Component(
        name=name,
        argv=(executable(command), *arguments),
        environment=ENVIRONMENT,
        after=(BOOTSTRAP,),
    )


def executable(command: str) -> str:
    """Return the path of one of our commands: beside the running interpreter."""
    return str(Path(sys.executable).parent / command)


def listen_addresses(settings: Settings) -> list[str]:
    """Return where the API server listens: as asked, and where pods find it."""
    host = settings.listen.rpartition(":")[0]
    if ipaddress.ip_address(host).is_unspecified or host == settings.network.gateway:
        return [settings.listen]
    return [settings.listen, f"{settings.network.gateway}:{settings.port}"]


def _apiserver(settings: Settings, credentials: Credentials) -> Sequence[str]:
    first, *others = listen_addresses(settings)
    more = [word for address in others for word in ("--also-listen", address)]
    return (
        *("--data-dir", str(settings.folder / "apiserver")),
        *("--listen", first, *more),
        *("--tls-cert", str(credentials.server.certificate)),
        *("--tls-key", str(credentials.server.key)),
        *("--client-ca", str(credentials.ca)),
        *("--service-account-key", str(credentials.service_account_key)),
        *("--front-proxy-cert", str(credentials.front_proxy.certificate)),
        *("--front-proxy-key", str(credentials.front_proxy.key)),
    )


def _virt_api(
    settings: Settings, credentials: Credentials, kubeconfig: Mapping[str, tuple[str, str]]
) -> Sequence[str]:
    return (
        *kubeconfig["virt-api"],
        *("--listen", f"{settings.network.gateway}:{VIRT_API_PORT}"),
        *("--tls-cert", str(credentials.virt_api.certificate)),
        *("--tls-key", str(credentials.virt_api.key)),
        *("--client-ca", str(credentials.ca)),
        "--uploads",
    )


def _inventory(
    settings: Settings, credentials: Credentials, kubeconfig: Mapping[str, tuple[str, str]]
) -> Sequence[str]:
    return (
        *kubeconfig["inventory"],
        *("--listen", settings.inventory_listen),
        *("--tls-cert", str(credentials.inventory.certificate)),
        *("--tls-key", str(credentials.inventory.key)),
        *("--client-ca", str(credentials.ca)),
    )


def _handler(
    settings: Settings,
    credentials: Credentials,
    kubeconfig: Mapping[str, tuple[str, str]],
    name: str,
    index: int,
) -> Component:
    pair = credentials.pairs[f"virt-handler-{name}"]
    arguments = (
        *kubeconfig[f"virt-handler-{name}"],
        *("--node", name),
        *("--kubelet-root", str(settings.node_folder(name))),
        *("--listen", f"{settings.node_address(index)}:{HANDLER_PORT}"),
        *("--tls-cert", str(pair.certificate)),
        *("--tls-key", str(pair.key)),
        *("--client-ca", str(credentials.ca)),
        *("--kvm-verdict", str(settings.kvm_verdict)),
        *("--metrics-listen", f"{settings.node_address(index)}:{HANDLER_METRICS_PORT}"),
    )
    component = _after(f"virt-handler-{name}", "virt-handler", *arguments)
    namespace = settings.node_namespace(name, index)
    if not namespace:
        return component
    inside = ("nsenter", f"--net={namespace}", "--")
    return Component(
        name=component.name,
        argv=(*inside, *component.argv),
        environment=component.environment,
        after=component.after,
    )
