"""`mtv vm`: list virtual machines, start and stop them, reach their consoles."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtv import errors
from mtv.cli import options
from mtv.cli.options import Format

if TYPE_CHECKING:
    from mtv.api.core import Pod
    from mtv.api.kubevirt import VirtualMachine, VirtualMachineInstance
    from mtv_operator.objects import Client

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="List, start, stop and reach virtual machines.",
    epilog="Examples: `mtv vm list -A` · `mtv vm start web1 -n prod --wait` · "
    "`mtv vm console web1` (leave with ctrl-]) · `mtv vm steps web1`",
)

SUBRESOURCES = "/apis/subresources.kubevirt.io/v1"
CONSOLE_PROTOCOL = "plain.kubevirt.io"
POLL_S = 0.25

Name = Annotated[str, typer.Argument(help="Name of the VirtualMachine.", show_default=False)]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the VM.")]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait until it is done.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait.")]


@app.command("list")
def list_vms(
    namespace: Namespace = "default",
    all_namespaces: options.AllNamespaces = False,
    output: options.Output = Format.TABLE,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """List virtual machines and what they are doing."""
    import msgspec

    from mtv.api.kubevirt import VirtualMachine, VirtualMachineInstance

    client = options.connect(kubeconfig)
    where = "" if all_namespaces else namespace
    vms = sorted(client.list(VirtualMachine, where), key=_sort_key)
    if output in (Format.JSON, Format.YAML):
        options.print_document(msgspec.to_builtins(vms), output)
        return
    if output is Format.NAME:
        for vm in vms:
            print(f"virtualmachine/{vm.metadata.name}")
        return
    instances = {_sort_key(one): one for one in client.list(VirtualMachineInstance, where)}
    options.print_table(
        ("NAMESPACE", "NAME", "STATUS", "READY", "IP", "NODE"),
        [_row(vm, instances.get(_sort_key(vm))) for vm in vms],
    )


def _sort_key(one: VirtualMachine | VirtualMachineInstance) -> tuple[str, str]:
    return one.metadata.namespace, one.metadata.name


def _row(vm: VirtualMachine, instance: VirtualMachineInstance | None) -> tuple[str, ...]:
    status = vm.status
    return (
        vm.metadata.namespace,
        vm.metadata.name,
        (status and status.printable_status) or "-",
        str(bool(status and status.ready)),
        _address(instance) or "-",
        (instance and instance.status and instance.status.node_name) or "-",
    )


def _address(instance: VirtualMachineInstance | None) -> str:
    interfaces = instance.status.interfaces if instance and instance.status else ()
    return (interfaces[0].ip_address or "") if interfaces else ""


@app.command()
def show(
    name: Name,
    namespace: Namespace = "default",
    output: options.Output = Format.YAML,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Show a virtual machine and its running instance."""
    import msgspec

    client = options.connect(kubeconfig)
    vm, instance = read(client, name, namespace), read_instance(client, name, namespace)
    document = {
        "vm": msgspec.to_builtins(vm),
        "instance": msgspec.to_builtins(instance) if instance is not None else None,
    }
    options.print_document(document, Format.JSON if output is Format.JSON else Format.YAML)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A word of the command line that virt-api carries out, and what is said of it."""

    name: str
    help: str
    said: str
    call: str = ""  # the subresource, where it is another word
    instance: bool = False  # of the running instance, not of the VM


VERBS = (
    Verb(name="restart", help="Stop a virtual machine and start it again.", said="restarting"),
    Verb(
        name="pause",
        help="Stop the CPUs of a virtual machine; memory stays.",
        said="paused",
        instance=True,
    ),
    Verb(
        name="unpause",
        help="Let the CPUs of a virtual machine go on.",
        said="goes on",
        instance=True,
    ),
    Verb(
        name="soft-reboot",
        help="Ask the guest to reboot, through its agent or by ACPI.",
        said="was asked to reboot",
        call="softreboot",
        instance=True,
    ),
    Verb(name="reset", help="Press the reset button.", said="was reset", instance=True),
    Verb(
        name="migrate",
        help="Move a running virtual machine to another node.",
        said="migrating; `kubectl get vmim -n {namespace}` follows it",
    ),
)


@app.command()
def start(
    name: Name,
    namespace: Namespace = "default",
    paused: Annotated[bool, typer.Option(help="Start it with its CPUs stopped.")] = False,
    wait: Wait = False,
    timeout_s: Timeout = 300.0,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Start a virtual machine."""
    client = options.connect(kubeconfig)
    call(client, name, namespace, "start", {"paused": True} if paused else None)
    print(f"virtualmachine/{name} starting")
    if wait:
        wait_for(client, name, namespace, {"Paused"} if paused else {"Running"}, timeout_s)


@app.command()
def stop(
    name: Name,
    namespace: Namespace = "default",
    grace_period_s: Annotated[
        int | None, typer.Option("--grace-period", help="Seconds the guest has to shut down.")
    ] = None,
    wait: Wait = False,
    timeout_s: Timeout = 300.0,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Stop a virtual machine: the guest is asked, and after the grace period switched off."""
    client = options.connect(kubeconfig)
    body = None if grace_period_s is None else {"gracePeriod": grace_period_s}
    call(client, name, namespace, "stop", body)
    print(f"virtualmachine/{name} stopping")
    if wait:
        wait_for(client, name, namespace, {"Stopped"}, timeout_s)


def _command(verb: Verb) -> Callable[[str, str, str], None]:
    def order(
        name: Name, namespace: Namespace = "default", kubeconfig: options.Kubeconfig = ""
    ) -> None:
        client = options.connect(kubeconfig)
        call(client, name, namespace, verb.call or verb.name, instance=verb.instance)
        print(f"virtualmachine/{name} {verb.said.format(namespace=namespace)}")

    return order


for _verb in VERBS:
    app.command(_verb.name, help=_verb.help)(_command(_verb))


@app.command()
def console(
    name: Name,
    namespace: Namespace = "default",
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for it.")] = 300.0,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Join the serial console; ctrl-] leaves it. Waits until the VM runs."""
    from mtv.cli import terminal

    client = options.connect(kubeconfig)
    path = f"{SUBRESOURCES}/namespaces/{namespace}/virtualmachineinstances/{name}/console"
    deadline = time.monotonic() + timeout_s
    told = False
    while True:
        try:
            connection = client.websocket(path, CONSOLE_PROTOCOL)
            break
        except errors.BadInput as fault:  # not running yet
            if time.monotonic() > deadline:
                raise errors.Retryable(f"{name}: {fault}", hint=f"mtv why vm {name}") from fault
            if not told:
                print(f"waiting: {fault}", file=sys.stderr)
                told = True
            time.sleep(1.0)
    print(f"console of {name}; leave with ctrl-]\r", file=sys.stderr)
    reason = terminal.attach(connection)
    print(f"\n{reason}" if reason else "", file=sys.stderr)


@app.command()
def steps(
    name: Name,
    namespace: Namespace = "default",
    output: options.Output = Format.TABLE,
    kubeconfig: options.Kubeconfig = "",
) -> None:
    """Show the seven steps of the last boot: object, component and time of each."""
    from mtv.cli import boot_steps

    client = options.connect(kubeconfig)
    vm, instance = read(client, name, namespace), read_instance(client, name, namespace)
    if instance is None:
        raise errors.NotFound(f"{name} does not run", hint=f"mtv vm start {name} -n {namespace}")
    found = boot_steps.steps(vm, instance, launcher_pod(client, instance))
    if output in (Format.JSON, Format.YAML):
        rows: list[dict[str, Any]] = [
            {
                "step": step.number,
                "what": step.what,
                "object": step.object,
                "component": step.component,
                "time": step.at or None,
            }
            for step in found
        ]
        options.print_document(rows, output)
        return
    options.print_table(
        ("STEP", "WHAT", "OBJECT", "COMPONENT", "TIME", "AFTER"),
        [
            (
                str(step.number),
                step.what,
                step.object,
                step.component,
                step.at or "-",
                _seconds(step.seconds_after(found[0])),
            )
            for step in found
        ],
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def read(client: Client, name: str, namespace: str) -> VirtualMachine:
    """Return a VM. Raises NotFound with a hint that names those that are there."""
    from mtv.api.kubevirt import VirtualMachine

    vm = client.find(VirtualMachine, name, namespace)
    if vm is None:
        there = ", ".join(
            f"{one.metadata.namespace}/{one.metadata.name}" for one in client.list(VirtualMachine)
        )
        raise errors.NotFound(
            f"there is no virtual machine {name} in namespace {namespace}",
            hint=f"there are: {there}; -n chooses the namespace" if there else "there is none yet",
        )
    return vm


def read_instance(client: Client, name: str, namespace: str) -> VirtualMachineInstance | None:
    """Return the instance of a VM, or None while it does not run."""
    from mtv.api.kubevirt import VirtualMachineInstance

    return client.find(VirtualMachineInstance, name, namespace)


def launcher_pod(client: Client, instance: VirtualMachineInstance) -> Pod | None:
    """Return the newest launcher pod of an instance."""
    from mtv.api.core import Pod

    labels = f"kubevirt.io/created-by={instance.metadata.uid}"
    pods = client.list(Pod, instance.metadata.namespace, labels=labels)
    return max(pods, key=lambda pod: pod.metadata.creation_timestamp or "", default=None)


def call(
    client: Client,
    name: str,
    namespace: str,
    verb: str,
    body: dict[str, Any] | None = None,
    *,
    instance: bool = False,
) -> None:
    """Have virt-api do something with a VM, or with its running instance."""
    plural = "virtualmachineinstances" if instance else "virtualmachines"
    path = f"{SUBRESOURCES}/namespaces/{namespace}/{plural}/{name}/{verb}"
    try:
        client.raw("PUT", path, body or {})
    except errors.NotFound:
        read(client, name, namespace)  # says which VMs there are
        raise errors.NotFound(
            f"virtual machine {name} does not run", hint=f"mtv vm start {name} -n {namespace}"
        ) from None
    except errors.Conflict as fault:  # its state does not allow it: asking again changes nothing
        hint = f"mtv vm list -n {namespace} shows its state"
        raise errors.TargetRefused(fault.message, hint=hint) from fault


def wait_for(client: Client, name: str, namespace: str, states: set[str], timeout_s: float) -> None:
    """Wait until a VM's printed status is one of `states`. Raises Retryable when it is not."""
    deadline = time.monotonic() + timeout_s
    shown = ""
    while True:
        vm = read(client, name, namespace)
        state = (vm.status and vm.status.printable_status) or "Unknown"
        if state in states:
            return
        if state != shown:
            print(f"{name}: {state}", file=sys.stderr)
            shown = state
        if time.monotonic() > deadline:
            raise errors.Retryable(
                f"{name} is {state} after {timeout_s:.0f} s, not {' or '.join(sorted(states))}",
                hint=f"mtv why vm {name} -n {namespace}",
            )
        time.sleep(POLL_S)
