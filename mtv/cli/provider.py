"""`mtv provider`: sources of VMs: added with their secret, tested, shown, deleted."""

from __future__ import annotations

import getpass
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtv import errors
from mtv.cli import options, provider_objects, sources
from mtv.cli.options import Format

if TYPE_CHECKING:
    from mtv.api.forklift import Condition, Provider
    from mtv_operator.migration.access import Access, PackageAccess
    from mtv_operator.objects import Client

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Add, list and test sources of VMs.",
    epilog="Examples: `mtv provider add vc --type vsphere --url https://vcenter.example.org/sdk "
    "--user administrator@vsphere.local --cacert ca.pem` · `mtv provider test vc` · "
    "`mtv provider delete vc`",
)

POLL_S = 0.2
Name = Annotated[str, typer.Argument(help="Name of the Provider.", show_default=False)]


@app.command(
    epilog="Examples: `mtv provider add vc --url https://vcenter.example.org/sdk "
    "--user administrator@vsphere.local --cacert ca.pem` · "
    "`mtv provider add esx1 --url https://esx1.example.org --user root --thumbprint 9F:86:D0:… "
    "--password-file pw`"
)
def add(
    name: Name,
    url: Annotated[
        str,
        typer.Option(
            help="https://vcenter.example.org/sdk; of OVAs a folder, a file, or https://….ova",
            show_default=False,
        ),
    ],
    user: Annotated[str, typer.Option(help="administrator@vsphere.local")] = "",
    type_: Annotated[str, typer.Option("--type", help="vsphere or ova.")] = "vsphere",
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password in its first line.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin.")
    ] = False,
    cacert: Annotated[
        Path | None, typer.Option(help="PEM file with the CA, or the server's own certificate.")
    ] = None,
    thumbprint: Annotated[
        str, typer.Option(help="SHA-1 or SHA-256 of the server's certificate.")
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept any certificate. Not for production.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the provider is Ready.")] = True,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 120.0,
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Add a vCenter, an ESXi host, or OVAs and OVFs as a source of VMs.

    The login is tried first: if it fails, nothing is stored (unless --no-wait).
    """
    from mtv_operator.migration.access import Access, PackageAccess

    _check_name(name, type_)
    _check_trust(cacert, thumbprint, insecure)
    ca_pem = _read(cacert, "--cacert") if cacert else ""
    wanted: Access | PackageAccess
    if type_ == "ova":
        wanted = PackageAccess(
            url=package_url(url),
            name=name,
            user=user,
            password=_password(user, password_file, from_stdin=password_stdin) if user else "",
            ca_pem=ca_pem,
            insecure=insecure,
        )
    else:
        wanted = Access(
            url=_full_url(url),
            user=_needed_user(user),
            password=_password(user, password_file, from_stdin=password_stdin),
            ca_pem=ca_pem,
            thumbprint=thumbprint,
            insecure=insecure,
        )
    client = options.connect(kubeconfig)
    _refuse_twice(client, name, namespace)
    if wait:
        _try(wanted)
    created = provider_objects.create(client, name, namespace, wanted)
    print(f"provider.forklift.konveyor.io/{name} created", flush=True)
    if wait:
        _wait_until_ready(client, created, timeout_s)


def _check_name(name: str, type_: str) -> None:
    from mtv.planning import names

    if not names.is_dns_label(name):
        raise errors.BadInput(
            f"{name!r} is no DNS label",
            field="NAME",
            hint="lower-case letters, digits and dashes, at most 63 characters",
        )
    if type_ not in ("vsphere", "ova"):
        raise errors.BadInput(
            f"{type_!r} is not supported yet",
            field="--type",
            hint="vsphere is: vCenter or ESXi; ova is: packages in a folder or at a URL",
        )


def _check_trust(cacert: Path | None, thumbprint: str, insecure: bool) -> None:
    if sum((cacert is not None, bool(thumbprint), insecure)) > 1:
        raise errors.BadInput(
            "--cacert, --thumbprint and --insecure exclude each other",
            hint="give the one way in which the server's certificate is to be checked",
        )


def _needed_user(user: str) -> str:
    if not user:
        raise errors.BadInput(
            "it must be given", field="--user", hint="for instance administrator@vsphere.local"
        )
    return user


def package_url(url: str) -> str:
    """Return where packages lie, as it is stored: absolute. Raises BadInput."""
    from mtv.providers.ova import location

    text = url if "://" in url or ":/" in url else str(Path(url).absolute())
    try:
        return location.parse(text).text
    except errors.BadInput as fault:
        raise errors.BadInput(fault.message, field="--url", hint=fault.hint) from fault


def _full_url(url: str) -> str:
    """Return the URL as it is stored: with scheme and path. Raises BadInput."""
    from mtv.providers.vsphere.endpoint import Endpoint

    try:
        return str(Endpoint.parse(url))
    except errors.BadInput as fault:
        raise errors.BadInput(fault.message, field="--url", hint=fault.hint) from fault


def _password(user: str, file: Path | None, *, from_stdin: bool) -> str:
    if file is not None and from_stdin:
        raise errors.BadInput("--password-file and --password-stdin exclude each other")
    if file is not None:
        text = _read(file, "--password-file")
    elif from_stdin:
        text = sys.stdin.readline()
    elif sys.stdin.isatty():
        text = getpass.getpass(f"Password of {user}: ", stream=sys.stderr)
    else:
        raise errors.BadInput(
            "no password is given, and there is no terminal to ask on",
            hint="use --password-file FILE or --password-stdin",
        )
    password = text.split("\n", 1)[0].rstrip("\r")
    if not password:
        raise errors.BadInput("the password is empty")
    return password


def _read(file: Path, option: str) -> str:
    try:
        return file.read_text()
    except OSError as fault:
        raise errors.NotFound(f"{option}: {file}: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise errors.BadInput(f"{file} is no text file", field=option) from fault


def _refuse_twice(client: Client, name: str, namespace: str) -> None:
    from mtv.api.core import Namespace
    from mtv.api.forklift import Provider

    if client.find(Namespace, namespace) is None:
        raise errors.NotFound(
            f"there is no namespace {namespace}", hint=f"kubectl create namespace {namespace}"
        )
    if client.find(Provider, name, namespace) is not None:
        raise errors.AlreadyExists(
            f"provider {name} already exists in namespace {namespace}",
            hint=f"mtv provider show {name}, or mtv provider delete {name}",
        )


def _try(wanted: Access | PackageAccess) -> None:
    """Log in and out, or read. Raises what only a person can mend; who is away may come back."""
    from mtv_operator.migration.access import PackageAccess

    try:
        with wanted.open() as opened:
            if isinstance(wanted, PackageAccess):
                opened.pull()
    except errors.Retryable as fault:
        print(f"note: not reachable from here ({fault}); the controller tries too", file=sys.stderr)


def _wait_until_ready(client: Client, created: Provider, timeout_s: float) -> None:
    """Wait for Ready. A verdict that only a person can change takes the Provider back."""
    name, namespace = created.metadata.name, created.metadata.namespace
    deadline = time.monotonic() + timeout_s
    while True:
        provider = sources.find(client, name, namespace)
        if _is_true(provider, "Ready"):
            print(f"provider {name} is ready", file=sys.stderr)
            return
        refused = next((c for c in _critical(provider) if c.reason != "Unreachable"), None)
        if refused is not None:
            provider_objects.remove(client, provider)
            kind = errors.Forbidden if refused.type == "ConnectionAuthFailed" else _Refused
            raise kind(
                f"provider {name}: {refused.type}: {refused.message}; it was removed again",
                hint=refused.suggestion or "",
            )
        if time.monotonic() > deadline:
            raise _not_ready_in_time(provider, timeout_s)
        time.sleep(POLL_S)


class _Refused(errors.SourceRefused):
    """The controller's verdict on a Provider."""


def _not_ready_in_time(provider: Provider, timeout_s: float) -> errors.MigrationError:
    name = provider.metadata.name
    reasons = [f"{c.type}: {c.message}" for c in _critical(provider)]
    return errors.SourceUnavailable(
        f"provider {name} is not ready after {timeout_s:.0f} s"
        + "".join(f"; {reason}" for reason in reasons),
        hint=f"it stays, and is tried again: mtv provider show {name} (is the controller running? "
        "mtv status)",
    )


def _critical(provider: Provider) -> list[Condition]:
    conditions = provider.status.conditions if provider.status else ()
    return [c for c in conditions if c.status == "True" and c.category in ("Critical", "Error")]


def _is_true(provider: Provider, kind: str) -> bool:
    conditions = provider.status.conditions if provider.status else ()
    return any(c.type == kind and c.status == "True" for c in conditions)


@app.command("list", epilog="Examples: `mtv provider list -A` · `mtv provider list -o json`")
def list_providers(
    namespace: options.Namespace = "mtv",
    all_namespaces: options.AllNamespaces = False,
    output: options.Output = Format.TABLE,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """List providers, and whether they can be reached."""
    import msgspec

    from mtv.api.forklift import Provider

    found = options.connect(kubeconfig).list(Provider, "" if all_namespaces else namespace)
    found.sort(key=lambda p: (p.metadata.namespace, p.metadata.name))
    if output in (Format.JSON, Format.YAML):
        options.print_document(msgspec.to_builtins(found), output)
    elif output is Format.NAME:
        for one in found:
            print(f"provider/{one.metadata.name}")
    else:
        header = ("NAMESPACE", "NAME", "TYPE", "STATUS", "CONNECTED", "INVENTORY", "URL")
        options.print_table(header, [_row(one) for one in found])


def _row(provider: Provider) -> tuple[str, ...]:
    return (
        provider.metadata.namespace,
        provider.metadata.name,
        provider.spec.type,
        (provider.status and provider.status.phase) or "Unknown",
        str(_is_true(provider, "ConnectionTestSucceeded")),
        str(_is_true(provider, "InventoryCreated")),
        provider.spec.url or "-",
    )


@app.command(epilog="Example: `mtv provider show vc -n mtv`")
def show(
    name: Name,
    namespace: options.Namespace = "mtv",
    output: options.Output = Format.TABLE,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Show a provider and all of its conditions."""
    import msgspec

    provider = sources.find(options.connect(kubeconfig), name, namespace)
    if output in (Format.JSON, Format.YAML):
        options.print_document(msgspec.to_builtins(provider), output)
        return
    status = provider.status
    for label, text in (
        ("Name", f"{namespace}/{name}"),
        ("Type", provider.spec.type),
        ("URL", provider.spec.url or "(this cluster)"),
        ("Phase", (status and status.phase) or "Unknown: no controller has seen it yet"),
        ("Certificate", (status and status.fingerprint) or "-"),
    ):
        print(f"{label + ':':<13}{text}")
    print("Conditions:")
    for one in status.conditions if status else ():
        print(f"  {one.type} ({one.category}): {one.message or one.reason or ''}")
        for item in one.items:
            print(f"    - {item}")
        if one.suggestion:
            print(f"    hint: {one.suggestion}")


@app.command("test", epilog="Example: `mtv provider test vc -n mtv`")
def log_in(
    name: Name, namespace: options.Namespace = "mtv", kubeconfig: options.Kubeconfig = ""
) -> None:
    """Log in at a provider from this machine, and say what is there."""
    client = options.connect(kubeconfig)
    provider = sources.find(client, name, namespace)
    if provider.spec.type == "ova":
        found = sources.inventory(client, provider)
        print(f"{name}: {provider.spec.url} can be read: {len(found.vms)} VMs")
        for note in found.notes:
            print(f"note: {note}", file=sys.stderr)
        return
    with sources.session(client, provider) as session:
        about = session.content.about
        print(f"{name}: logged in at {session.server} as {session.user}: {about.fullName}")


@app.command(epilog="Example: `mtv provider delete vc -n mtv`")
def delete(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Even if plans use it.")] = False,
    namespace: options.Namespace = "mtv",
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Delete a provider and its secret; refused while plans use it."""
    from mtv.api.forklift import Plan

    client = options.connect(kubeconfig)
    provider = sources.find(client, name, namespace)
    users = [
        f"{plan.metadata.namespace}/{plan.metadata.name}"
        for plan in client.list(Plan)
        for reference in (plan.spec.provider.source, plan.spec.provider.destination)
        if (reference.namespace or plan.metadata.namespace, reference.name) == (namespace, name)
    ]
    if users and not force:
        raise errors.NeedsOperator(
            f"provider {name} is used by {', '.join(sorted(users))}",
            hint="delete these plans first, or use --force",
        )
    provider_objects.remove(client, provider)
    print(f"provider.forklift.konveyor.io/{name} deleted")
