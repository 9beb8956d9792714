"""The command `virt-api`: admission webhooks, and the aggregated API that `virtctl` calls."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from mtv import errors
from mtv.api import configuration, core, installation, kubevirt
from mtv_operator.certificates.reloading import Reloading
from mtv_operator.objects import Cache, Caches, Client
from mtv_operator.serving import server
from mtv_operator.serving import tls as server_tls
from mtv_operator.virt_api import handler_link, registration
from mtv_operator.virt_api.admission import World
from mtv_operator.virt_api.application import Application
from mtv_operator.virt_api.backend import Backend

log = logging.getLogger("virt-api")

LISTEN = "0.0.0.0:8443"
HANDLER_PORT = 8186  # upstream's console server of virt-handler
# Users whose changes of an instance's status are the runtime's own.
TRUSTED = (
    "system:serviceaccount:kubevirt:kubevirt-apiserver",
    "system:serviceaccount:kubevirt:kubevirt-controller",
    "system:serviceaccount:kubevirt:kubevirt-handler",
    "system:serviceaccount:mtv:mtv-controller",
)
PROXIES = ("front-proxy-client",)
# Where a cluster says who its front proxy is (kube-apiserver writes it).
PROXY_CONFIG = ("kube-system", "extension-apiserver-authentication")
REGISTER_AGAIN_S = 60.0
RETRY_S = 1.0
APPLY = "application/apply-patch+yaml"
MANAGER = "virt-api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The command line."""

    kubeconfig: str
    listen: str
    advertise: str
    tls_cert: Path
    tls_key: Path
    client_ca: Path | None
    authority: Path | None
    selector: tuple[str, str] | None
    proxy_names: frozenset[str]
    handler_port: int
    trusted: frozenset[str]
    register: bool
    uploads: bool = False


def parse(arguments: list[str]) -> Settings:
    """Return the command line's values. Exits with 2 and a usage line when they are wrong."""
    parser = argparse.ArgumentParser(prog="virt-api", description=__doc__)
    add = parser.add_argument
    add("--kubeconfig", default="", help="where the API server is (default: as in a pod)")
    add("--listen", default=LISTEN, metavar="ADDRESS:PORT", help="default: %(default)s")
    add(
        "--advertise", default="", metavar="ADDRESS:PORT",
        help="where the API server reaches us (default: as --listen)",
    )  # fmt: skip
    add("--tls-cert", type=Path, required=True, metavar="FILE", help="our certificate")
    add("--tls-key", type=Path, required=True, metavar="FILE", help="its key")
    add(
        "--client-ca", "--requestheader-client-ca", type=Path, default=None, metavar="FILE",
        dest="client_ca", help="who signs the front proxy's certificate "
        f"(default: ConfigMap {'/'.join(PROXY_CONFIG)})",
    )  # fmt: skip
    add(
        "--ca", type=Path, default=None, metavar="FILE", dest="authority",
        help="who signed our certificate and those of the handlers (default: as --client-ca)",
    )  # fmt: skip
    add(
        "--service-selector", default="", metavar="LABEL=VALUE",
        help="by which our Service finds us (default: it gets the advertised address)",
    )  # fmt: skip
    add(
        "--requestheader-allowed-name", action="append", default=[], metavar="NAME",
        help=f"name in the front proxy's certificate (default: {', '.join(PROXIES)})",
    )  # fmt: skip
    add(
        "--handler-port", type=int, default=HANDLER_PORT, metavar="PORT",
        help="of virt-handler, where a node does not say (default: %(default)s)",
    )  # fmt: skip
    add(
        "--trusted-user", action="append", default=[], metavar="USER",
        help="one more user who may write the status of instances",
    )  # fmt: skip
    add(
        "--uploads", nargs="?", const="true", default="false", choices=("true", "false"),
        help="take uploads into claims, where CDI is not installed",
    )  # fmt: skip
    add("--no-register", action="store_true", help="do not make webhooks and APIServices")
    given = parser.parse_args(arguments)
    label, _, value = given.service_selector.partition("=")
    return Settings(
        kubeconfig=given.kubeconfig,
        listen=given.listen,
        advertise=given.advertise or given.listen,
        tls_cert=given.tls_cert,
        tls_key=given.tls_key,
        client_ca=given.client_ca,
        authority=given.authority or given.client_ca,
        selector=(label, value) if value else None,
        proxy_names=frozenset(given.requestheader_allowed_name or PROXIES),
        handler_port=given.handler_port,
        trusted=frozenset((*TRUSTED, *given.trusted_user)),
        register=not given.no_register,
        uploads=given.uploads == "true",
    )


def run() -> None:
    """Run the process; end with 0 after SIGTERM or SIGINT."""
    settings = parse(sys.argv[1:])
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("MTV_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        serve(settings)
    except errors.MigrationError as fault:
        log.error("%s%s", fault, f" ({fault.hint})" if fault.hint else "")
        sys.exit(fault.exit_code)
    log.info("ended")


def serve(settings: Settings) -> None:
    """Answer until SIGTERM. Raises MigrationError if it cannot begin."""
    with Client.connect(settings.kubeconfig or None) as client, Caches(client) as caches:
        installed = caches.watch(installation.KubeVirt, configuration.NAMESPACE)
        caches.start()
        proxies = _proxies(settings, client)
        pair = (settings.tls_cert, settings.tls_key)
        try:
            tls = handler_link.client_tls(*pair, _authority(settings))
            inbound = server_tls.context(*pair, proxies)
        except (OSError, ValueError) as fault:
            raise errors.BadInput(
                f"the certificate cannot be used: {fault}", field="--tls-cert, --tls-key"
            ) from fault

        def load() -> None:
            tls.load_cert_chain(*pair)
            tls.load_verify_locations(cadata=_authority(settings).decode())
            inbound.load_cert_chain(*pair)

        files = [*pair, *([settings.authority] if settings.authority else [])]
        backend = Backend(
            client=client, handlers=handler_link.HandlerLink(tls=tls, port=settings.handler_port)
        )
        application = Application(
            backend=backend,
            world=lambda: world_of(client, installed, settings.trusted),
            proxies=settings.proxy_names,
            version=metadata.version("mtv"),
            uploads=settings.uploads,
        )
        config = server.configured(application.asgi(), settings.listen, inbound, websockets=True)
        answering = server.Server(config, Reloading(files, load))
        asyncio.run(_serve(answering, settings, client))


async def _serve(answering: server.Server, settings: Settings, client: Client) -> None:
    registering = asyncio.create_task(_register(answering, settings, client))
    try:
        await answering.answer()
    finally:
        registering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await registering


async def _register(answering: server.Server, settings: Settings, client: Client) -> None:
    """Make the API server know us, once we listen; again now and then, as objects get lost."""
    if not settings.register:
        return
    told = ""
    while True:
        pause_s = RETRY_S
        if answering.started:
            try:
                await run_in_threadpool(register, client, settings)
                pause_s = REGISTER_AGAIN_S
                if told != "registered":
                    told = "registered"
                    log.info("registered at %s as %s", client.server, settings.advertise)
            except errors.MigrationError as fault:
                if told != str(fault):
                    told = str(fault)
                    log.warning("not registered: %s", fault)
        await asyncio.sleep(pause_s if answering.started else 0.05)


def register(client: Client, settings: Settings) -> None:
    """Apply the objects by which the API server finds us. Raises MigrationError."""
    query = (("fieldManager", MANAGER), ("force", "true"))
    selector = dict([settings.selector]) if settings.selector else None
    authority = _authority(settings)
    for document in registration.objects(
        settings.advertise, authority, selector=selector, with_uploads=settings.uploads
    ):
        path = registration.path_of(document)
        client.raw("PATCH", path, document, content_type=APPLY, query=query)


def world_of(
    client: Client, installed: Cache[installation.KubeVirt], trusted: frozenset[str]
) -> World:
    """Return what admission depends on now."""
    found = installed.get(configuration.NAMESPACE, configuration.NAME)
    return World(
        configuration=configuration.of(found),
        trusted=trusted,
        now=datetime.now(UTC),
        new_uuid=lambda: str(uuid.uuid4()),
        instance=lambda namespace, name: client.find(
            kubevirt.VirtualMachineInstance, name, namespace
        ),
        migrations=lambda namespace: client.list(
            kubevirt.VirtualMachineInstanceMigration, namespace
        ),
        pod=lambda namespace, name: client.find(core.Pod, name, namespace),
        evacuate=lambda vmi, node: _evacuate(client, vmi, node),
        reader=client,
    )


def _evacuate(client: Client, vmi: kubevirt.VirtualMachineInstance, node: str) -> None:
    """Mark an instance to leave a node."""
    marked = {"status": {"evacuationNodeName": node}}
    client.patch(type(vmi), vmi.metadata.name, vmi.metadata.namespace, marked)


def _authority(settings: Settings) -> bytes:
    """Return the certificates of who signed ours and the handlers'. Raises BadInput."""
    if settings.authority is None:
        raise errors.BadInput("it must be given where --client-ca is not", field="--ca")
    try:
        return settings.authority.read_bytes()
    except OSError as fault:
        raise errors.BadInput(str(fault), field="--ca") from fault


def _proxies(settings: Settings, client: Client) -> bytes:
    """Return who signs the front proxy's certificate: a file's word, or the cluster's."""
    if settings.client_ca is not None:
        try:
            return settings.client_ca.read_bytes()
        except OSError as fault:
            raise errors.BadInput(str(fault), field="--client-ca") from fault
    namespace, name = PROXY_CONFIG
    found = client.get(core.ConfigMap, name, namespace)
    return found.data.get("requestheader-client-ca-file", "").encode()


if __name__ == "__main__":
    run()
