"""The tutorial of the README, run for real: `make demo` and `make demo-down`.

A vCenter (simulated, with real bytes in its disks) holds one running web server. The demo starts
mtv on this machine, adds the vCenter, applies `examples/plan.yaml`, follows the migration, and
waits until the guest answers on its pod address. Every command it runs is printed, so that a
reader can repeat it by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from mtv_operator.embedded.up import settings

ROOT = Path(__file__).resolve().parents[1]
DATA = Path("/var/lib/mtv-demo")
VCENTER = DATA / "vcenter"
KUBECONFIG = DATA / "kubeconfig"
MTV = ROOT / ".venv/bin/mtv"
LISTEN = "127.0.0.1:8989"
USER, PASSWORD = "administrator@vsphere.local", "secret"
GUEST_DEADLINE_S = 240.0  # a loaded machine without KVM boots the guest in well under a minute


def main() -> int:
    """Run the demo, or take it away with --down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--down", action="store_true", help="take away everything the demo made")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        return fail("the demo makes network namespaces and bridges", "run it as root")
    try:
        return down() if arguments.down else up()
    except subprocess.CalledProcessError as error:
        return fail(
            f"`{shlex.join(map(str, error.cmd))}` ended with {error.returncode}",
            f"logs are in {DATA}/logs; `make demo-down` takes everything away",
        )
    except KeyboardInterrupt:
        return fail("interrupted", "`make demo` goes on from here, `make demo-down` cleans up")


def up() -> int:
    """Run the whole story; a second run goes on from what is there."""
    started = time.monotonic()
    say("A vCenter with one running VM, web1")
    start_vcenter()
    say("mtv on this machine: API server, controllers, one node")
    run(MTV, "up", "--data-dir", DATA, "--emulation", "auto")
    os.environ["KUBECONFIG"] = str(KUBECONFIG)
    say("Where the VM comes from")
    add_provider()
    run(MTV, "inventory", "vms", "vcenter", "-n", "mtv")
    say("The plan: what would happen, then go")
    apply(ROOT / "examples/plan.yaml")
    run(MTV, "plan", "watch", "demo", "-n", "mtv")
    say("The VM boots")
    address = wait_for_guest("web1", "demo")
    run(MTV, "vm", "steps", "web1", "-n", "demo")
    print_outlook(address, time.monotonic() - started)
    return 0


def down() -> int:
    """Stop everything and remove every file, link and namespace of the demo."""
    stop_vcenter()  # first: its pid is in the folder that is purged
    if DATA.exists() and MTV.exists():
        run(MTV, "down", "--data-dir", DATA, "--stop-vms", "--purge")
    shutil.rmtree(DATA, ignore_errors=True)
    print("The demo is gone.")
    return 0


def start_vcenter() -> None:
    """Start the double in the background, unless it runs already."""
    if vcenter_pid():
        print(f"it runs already: https://{LISTEN}/sdk")
        return
    VCENTER.mkdir(parents=True, exist_ok=True)
    log = (VCENTER / "log").open("wb")
    command = [
        str(ROOT / "tests/vcenter/vcenter-double"),
        *("-listen", LISTEN, "-user", USER, "-password", PASSWORD),
        *("-config", str(ROOT / "examples/vcenter.json"), "-state", str(VCENTER / "state")),
    ]
    (VCENTER / "state").mkdir(exist_ok=True)
    process = subprocess.Popen(
        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
    )
    (VCENTER / "pid").write_text(str(process.pid))
    deadline = time.monotonic() + 60
    while not any(line.startswith("ready ") for line in (VCENTER / "log").open()):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.stderr.write((VCENTER / "log").read_text()[-2000:])
            raise subprocess.CalledProcessError(process.returncode or 1, command)
        time.sleep(0.05)
    print(f"https://{LISTEN}/sdk")


def vcenter_pid() -> int | None:
    """Return the pid of our running double."""
    try:
        pid = int((VCENTER / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"vcenter-double" in command else None


def stop_vcenter() -> None:
    """End the double and wait until it is gone."""
    pid = vcenter_pid()
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        if vcenter_pid() is None:
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)


def add_provider() -> None:
    """Add the vCenter as a Provider, with the certificate that it really has."""
    command = [
        *("provider", "add", "vcenter", "--type", "vsphere", "--url", f"https://{LISTEN}/sdk"),
        *("--user", USER, "--password-stdin", "--insecure", "-n", "mtv"),
    ]
    print(f"$ echo {PASSWORD} | mtv {shlex.join(command)}", flush=True)
    done = subprocess.run(
        [MTV, *command], input=PASSWORD, text=True, capture_output=True, check=False
    )
    if done.returncode and "already exists" not in done.stderr:
        sys.stderr.write(done.stderr)
        raise subprocess.CalledProcessError(done.returncode, [str(MTV), *command])
    print((done.stdout or "it is there already\n").strip())


def apply(manifest: Path) -> None:
    """Apply a file with kubectl, or with our own command where there is none."""
    if shutil.which("kubectl"):
        run("kubectl", "apply", "-f", manifest)
    else:
        run(MTV, "apply", "-f", manifest)


def wait_for_guest(name: str, namespace: str) -> str:
    """Return the pod address on which the guest answers HTTP."""
    deadline = time.monotonic() + GUEST_DEADLINE_S
    while time.monotonic() < deadline:
        address = vmi_address(name, namespace)
        if address:
            url = f"http://{address}:8080/cgi-bin/status"
            try:
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                    url, timeout=2
                ) as answer:
                    print(f"$ curl {url}\n{answer.read().decode().strip()}")
                    return address
            except (urllib.error.URLError, OSError):
                pass
        time.sleep(0.25)
    run(MTV, "vm", "show", name, "-n", namespace, check=False)
    raise subprocess.CalledProcessError(1, ["curl", f"http://{name}:8080/cgi-bin/status"])


def vmi_address(name: str, namespace: str) -> str:
    """Return the pod address of a VMI, or "" while there is none."""
    done = subprocess.run(
        [MTV, "vm", "show", name, "-n", namespace, "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return ""
    instance = json.loads(done.stdout).get("instance") or {}
    interfaces = instance.get("status", {}).get("interfaces") or [{}]
    return str(interfaces[0].get("ipAddress", ""))


def run(*command: object, check: bool = True) -> None:
    """Print a command as a reader would type it, and run it."""
    words = [str(word) for word in command]
    shown = ["mtv" if word == str(MTV) else word.replace(f"{ROOT}/", "") for word in words]
    print(f"$ {shlex.join(shown)}", flush=True)
    subprocess.run(words, check=check, cwd=ROOT)


def say(title: str) -> None:
    """Print a heading."""
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n== {title}", flush=True)


def fail(error: str, hint: str) -> int:
    """Print an error in the shape of the command line."""
    print(f"error: {error}\n\nhint: {hint}", file=sys.stderr)
    return 1


def print_outlook(address: str, elapsed_s: float) -> None:
    """Say what to try next."""
    print(
        f"""
web1 left vCenter and answers at http://{address}:8080/ ({elapsed_s:.0f} s in all). Try next:

  kubectl get vm,vmi,pods,pvc -n demo
  mtv vm console web1 -n demo          (leave with ctrl-])
  mtv vm restart web1 -n demo && kubectl get vmi -n demo -w
  mtv plan check demo -n mtv
  make demo-down

export PATH={MTV.parent}:$PATH
export KUBECONFIG={KUBECONFIG}
export MTV_INVENTORY_URL={inventory_url()}"""
    )


def inventory_url() -> str:
    """Return where the inventory service listens, as `kubectl mtv` wants it."""
    kept = settings.load(DATA)
    return kept.inventory_url if kept else ""


if __name__ == "__main__":
    sys.exit(main())
