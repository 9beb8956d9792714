"""The command `mtv-inventory`: Forklift's inventory API, until SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mtv import errors
from mtv_operator.certificates.reloading import Reloading
from mtv_operator.inventory_api.application import Application
from mtv_operator.inventory_api.asking import Gate
from mtv_operator.inventory_api.own_certificates import OwnCertificates
from mtv_operator.inventory_api.sources import Sources
from mtv_operator.migration.inventory_cache import Inventories
from mtv_operator.objects import Caches, Client
from mtv_operator.serving import server, tls

log = logging.getLogger("mtv-inventory")

LISTEN = "0.0.0.0:8443"  # Forklift's port


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The command line."""

    kubeconfig: str
    listen: str
    tls_cert: Path | None
    tls_key: Path | None
    own_certificates: str
    client_ca: Path | None


def parse(arguments: list[str]) -> Settings:
    """Return the command line's values. Exits with 2 and a usage line when they are wrong."""
    parser = argparse.ArgumentParser(prog="mtv-inventory", description=__doc__)
    add = parser.add_argument
    add("--kubeconfig", default="", help="where the API server is (default: as in a pod)")
    add("--listen", default=LISTEN, metavar="ADDRESS:PORT", help="default: %(default)s")
    add("--tls-cert", type=Path, default=None, metavar="FILE", help="our certificate")
    add("--tls-key", type=Path, default=None, metavar="FILE", help="its key")
    add(
        "--own-certificates", default="", metavar="NAMESPACE",
        help="make and keep a certificate instead, in a Secret there; the ConfigMap "
        "mtv-inventory-ca holds who signed it",
    )  # fmt: skip
    add(
        "--client-ca", type=Path, default=None, metavar="FILE",
        help="who signs certificates of users (default: only tokens are believed)",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    has_pair = given.tls_cert is not None and given.tls_key is not None
    if has_pair == bool(given.own_certificates):
        parser.error("give either --tls-cert and --tls-key, or --own-certificates")
    return Settings(**vars(given))


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
    told: list[Sources] = []
    with (
        Client.connect(settings.kubeconfig or None) as client,
        _certificate(settings, client) as pair,
        Inventories(lambda key: told[0].inventory_changed(key)) as inventories,
        Caches(client) as caches,
    ):
        context = _tls(pair, settings.client_ca)
        sources = Sources(client, caches, inventories)
        told.append(sources)
        caches.start()
        application = Application(sources=sources, gate=Gate(client))
        config = server.configured(application.asgi(), settings.listen, context)
        reloading = Reloading([*pair], lambda: context.load_cert_chain(*pair))
        server.Server(config, reloading).run_until_signal()


def _tls(pair: tuple[Path, Path], client_ca: Path | None) -> ssl.SSLContext:
    try:
        return tls.context(*pair, client_ca.read_bytes() if client_ca else b"")
    except (OSError, ValueError) as fault:
        raise errors.BadInput(
            f"the certificate cannot be used: {fault}", field="--tls-cert, --tls-key, --client-ca"
        ) from fault


@contextlib.contextmanager
def _certificate(settings: Settings, client: Client) -> Iterator[tuple[Path, Path]]:
    """Yield the files of our certificate, which are valid for as long as it takes."""
    if settings.tls_cert is not None and settings.tls_key is not None:
        yield settings.tls_cert, settings.tls_key
        return
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="mtv-inventory-") as folder:
        own = OwnCertificates(client, settings.own_certificates, Path(folder))
        own.begin()
        keeping = threading.Thread(target=own.follow, args=(stop,), name="certificate")
        keeping.start()
        try:
            yield own.certificate, own.key
        finally:
            stop.set()
            keeping.join()


if __name__ == "__main__":
    run()
