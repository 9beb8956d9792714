"""`mtv-apiserver`: the API server of the embedded home as a process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import fcntl
import gc
import logging
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mtv import errors
from mtv_operator.embedded.apiserver import cleanup, garbage, housekeeping, namespaces, server
from mtv_operator.embedded.apiserver.admission import Admission
from mtv_operator.embedded.apiserver.aggregation import Aggregator
from mtv_operator.embedded.apiserver.application import Application
from mtv_operator.embedded.apiserver.authentication import Tokens
from mtv_operator.embedded.apiserver.authorization import Rules
from mtv_operator.embedded.apiserver.deps import Deps, FrontProxy
from mtv_operator.embedded.apiserver.http_client import Pool
from mtv_operator.embedded.apiserver.registry import DEFINITIONS, Registry
from mtv_operator.embedded.apiserver.storage import Change, Store

log = logging.getLogger(__name__)

DATABASE = "apiserver.db"
FILES = {  # options that name a file
    "tls-cert": "certificate of this server",
    "tls-key": "its key",
    "client-ca": "authority of client certificates",
    "service-account-key": "key that signs tokens of service accounts",
    "front-proxy-cert": "certificate shown to aggregated API servers",
    "front-proxy-key": "its key",
}
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="mtv-apiserver", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="where the database lies")
    parser.add_argument("--listen", default="127.0.0.1:6443", help="ADDRESS:PORT")
    parser.add_argument(
        "--also-listen", action="append", default=[], metavar="ADDRESS:PORT", help="for pods"
    )
    for name, told in FILES.items():
        needed = not name.startswith("front-proxy")
        parser.add_argument(f"--{name}", type=Path, required=needed, help=told)
    parser.add_argument("-v", "--verbose", action="store_true")
    return parser.parse_args(arguments)


def run() -> None:
    """Serve until SIGTERM."""
    options = parse_arguments()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    _tame_malloc()
    sys.setswitchinterval(0.001)  # the writer's thread must not wait long for the event loop's
    try:
        _check_files(options)
        with _locked(options.data_dir), server.event_loop() as runner:
            runner.run(_main(options))
    except errors.MigrationError as error:
        log.error("%s%s", error, f"; {error.hint}" if error.hint else "")
        sys.exit(error.exit_code)


def _check_files(options: argparse.Namespace) -> None:
    """Raise NotFound that names the option when a certificate or key is not there."""
    for name in FILES:
        path = getattr(options, name.replace("-", "_"))
        if path is not None and not path.is_file():
            raise errors.NotFound(f"--{name}: {path} does not exist", hint="`mtv up` makes it")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the data folder: two servers would not see each other's writes."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "apiserver.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.AlreadyExists(
                f"another API server uses {folder}", hint="stop it, or use another --data-dir"
            ) from error
        yield


def _tame_malloc() -> None:
    """Let glibc give memory of large answers back, and the writer's thread share our arena.

    Else the threshold above which blocks are mapped on their own grows to the largest list.
    Numbers from malloc.h; another libc does without.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 256 << 10)
        libc.mallopt(M_ARENA_MAX, 1)


async def _main(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    sockets = server.listen([options.listen, *options.also_listen])
    deps = _deps(options)
    store = deps.store
    store.start(loop)
    _follow_definitions(deps)
    await housekeeping.prepare(deps)
    gc.collect()
    gc.freeze()
    identity = server.Identity(
        certificate=options.tls_cert, key=options.tls_key, client_ca=options.client_ca
    )
    log.info("serving %s on %s", options.data_dir, options.listen)
    aggregator = Aggregator(deps)

    def end_watches() -> None:
        for end in list(deps.watches):
            end()

    try:
        async with asyncio.TaskGroup() as group:  # a keeper that fails ends the server
            keepers = [
                group.create_task(keep)
                for keep in (
                    aggregator.run(),
                    cleanup.Cleaner(deps).run(),
                    garbage.Collector(deps).run(),
                    housekeeping.expire_events(deps),
                    namespaces.Keeper(deps).run(),
                )
            ]
            application = Application(deps, aggregator)
            await server.serve(application, identity, sockets, end_watches)
            for keeper in keepers:
                keeper.cancel()
    finally:
        deps.pool.close()
        store.close()


def _deps(options: argparse.Namespace) -> Deps:
    store = Store(options.data_dir / DATABASE)
    pool = Pool()
    return Deps(
        store=store,
        registry=Registry(),
        admission=Admission(store, pool),
        tokens=Tokens(options.service_account_key),
        rules=Rules(store),
        pool=pool,
        front_proxy=FrontProxy(
            ca=options.client_ca,
            certificate=options.front_proxy_cert,
            key=options.front_proxy_key,
            own_certificate=options.tls_cert,
            own_key=options.tls_key,
        ),
        clock=lambda: datetime.now(UTC),
    )


def _follow_definitions(deps: Deps) -> None:
    """Serve the custom resources that are defined, from now on as they change."""
    registry = deps.registry

    def follow(changes: Sequence[Change]) -> None:
        for change in changes:
            gone = change.kind == "DELETED"
            registry.update(change.entry.key.name, None if gone else change.entry.document())

    for entry in deps.store.table(DEFINITIONS).select(""):
        registry.update(entry.key.name, entry.document())
    deps.store.listen(DEFINITIONS, follow)
