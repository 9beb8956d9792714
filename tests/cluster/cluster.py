"""Run a real Kubernetes cluster on this machine, for the end-to-end tests.

    cluster.py up [--nodes N]     a new cluster: etcd, the control plane, N nodes
    cluster.py down               stop everything and remove its files
    cluster.py load IMAGE.tar...  put images into every node's containerd
    cluster.py tag OLD NEW        give an image one more name, on every node
    cluster.py stop NODE          end a node at once, as if its power was cut
    cluster.py start NODE         start it again, with what it had on its disks

It needs root and the packages of packages-cluster.txt; binaries that are missing are built by
build.sh. The control plane runs in the machine's own namespaces and listens on the bridge's
address alone; what a node is, node.py says.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from node import Node, nodes
from parts import (
    API_SERVICE_IP,
    BIN,
    BRIDGE,
    DOMAIN,
    GATEWAY,
    HOSTPATH_VOLUMES,
    SERVICE_CIDR,
    STATE,
    Authority,
    cgroups,
    get,
    kubeconfig,
    run,
    start,
    stop,
    wait_for,
    write,
)

BINARIES = (
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
    *("kubectl", "etcd", "dns", "pause"),
)


def build() -> None:
    """Build the binaries that are not there yet: 20 minutes the first time, from Go modules."""
    missing = [name for name in BINARIES if not (BIN / name).exists()]
    if missing:
        print(f"building {', '.join(missing)}")
        run(Path(__file__).with_name("build.sh"), *missing)


# Control plane


def control_plane() -> None:
    ca, proxy_ca = Authority("ca"), Authority("front-proxy-ca")
    serving = ca.issue("apiserver", "/CN=kube-apiserver",
                       f"IP:{GATEWAY}", "IP:127.0.0.1", f"IP:{API_SERVICE_IP}",
                       "DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default",
                       "DNS:kubernetes.default.svc",
                       f"DNS:kubernetes.default.svc.{DOMAIN}")  # fmt: skip
    to_kubelet = ca.issue(
        "apiserver-kubelet-client", "/O=system:masters/CN=apiserver-kubelet-client"
    )
    front = proxy_ca.issue("front-proxy-client", "/CN=front-proxy-client")
    tokens = STATE / "pki/sa.key"
    if not tokens.exists():
        run("openssl", "genrsa", "-out", tokens, "2048", stderr=subprocess.DEVNULL)
    for name, subject in (
        ("admin", "/O=system:masters/CN=admin"),
        ("controller-manager", "/CN=system:kube-controller-manager"),
        ("scheduler", "/CN=system:kube-scheduler"),
        ("proxy", "/CN=system:kube-proxy"),
    ):
        kubeconfig(name, ca, *ca.issue(name, subject))

    start("etcd", BIN / "etcd", "--data-dir", STATE / "etcd",
          "--listen-client-urls", "http://127.0.0.1:22379", "--advertise-client-urls", "http://127.0.0.1:22379",
          "--listen-peer-urls", "http://127.0.0.1:22380",
          "--initial-advertise-peer-urls", "http://127.0.0.1:22380",
          "--initial-cluster", "default=http://127.0.0.1:22380",
          "--unsafe-no-fsync")  # fmt: skip
    start("apiserver", BIN / "kube-apiserver",
          "--etcd-servers", "http://127.0.0.1:22379",
          "--bind-address", GATEWAY, "--advertise-address", GATEWAY, "--secure-port", "6443",
          "--tls-cert-file", serving[0], "--tls-private-key-file", serving[1],
          "--client-ca-file", ca.cert,
          "--kubelet-certificate-authority", ca.cert,
          "--kubelet-client-certificate", to_kubelet[0], "--kubelet-client-key", to_kubelet[1],
          "--kubelet-preferred-address-types", "InternalIP",
          "--service-account-issuer", f"https://kubernetes.default.svc.{DOMAIN}",
          "--service-account-key-file", tokens, "--service-account-signing-key-file", tokens,
          "--service-cluster-ip-range", SERVICE_CIDR,
          "--authorization-mode", "Node,RBAC",
          "--enable-admission-plugins", "NodeRestriction",
          "--allow-privileged",
          "--requestheader-client-ca-file", proxy_ca.cert,
          "--requestheader-allowed-names", "front-proxy-client",
          "--requestheader-extra-headers-prefix", "X-Remote-Extra-",
          "--requestheader-group-headers", "X-Remote-Group",
          "--requestheader-username-headers", "X-Remote-User",
          "--proxy-client-cert-file", front[0], "--proxy-client-key-file", front[1],
          # The apiserver has no kube-proxy: it goes to the endpoints itself.
          "--enable-aggregator-routing")  # fmt: skip
    wait_for("ready apiserver", lambda: get("/readyz") == "ok", 180)
    start("controller-manager", BIN / "kube-controller-manager",
          "--kubeconfig", STATE / "controller-manager.kubeconfig", "--bind-address", "127.0.0.1",
          "--cluster-signing-cert-file", ca.cert, "--cluster-signing-key-file", ca.key,
          "--root-ca-file", ca.cert, "--service-account-private-key-file", tokens,
          "--use-service-account-credentials",
          "--enable-hostpath-provisioner",
          "--leader-elect=false")  # fmt: skip
    HOSTPATH_VOLUMES.mkdir(exist_ok=True)
    start("volumes", sys.executable, Path(__file__).with_name("volumes.py"))
    start("scheduler", BIN / "kube-scheduler",
          "--kubeconfig", STATE / "scheduler.kubeconfig", "--bind-address", "127.0.0.1",
          "--leader-elect=false")  # fmt: skip


def dns() -> None:
    """CoreDNS, outside the cluster: the nodes reach it at the bridge's address."""
    corefile = write(
        STATE / "Corefile",
        f"""{DOMAIN}:53 in-addr.arpa:53 {{
    bind {GATEWAY}
    errors
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {STATE}/admin.kubeconfig e2e
        pods insecure
    }}
}}
""",
    )
    start("dns", BIN / "dns", "-conf", corefile)


# The whole


def bridge_up() -> None:
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{GATEWAY}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


def up(count: int) -> None:
    build()
    down()
    began = time.monotonic()
    STATE.mkdir(parents=True)
    bridge_up()
    control_plane()
    dns()
    print(f"control plane ready after {time.monotonic() - began:.1f} s")
    for index in range(1, count + 1):
        node = Node(index)
        node.up()
        wait_for(f"ready {node.name}", node.ready, 120)
        print(f"{node.name} ready after {time.monotonic() - began:.1f} s")
    # Until it exists, no pod is admitted.
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    wait_for("default service account", lambda: get(account), 60)
    print(f"export KUBECONFIG={STATE}/admin.kubeconfig")


def down() -> None:
    for node in nodes():
        node.down()
    for name in ("dns", "volumes", "scheduler", "controller-manager", "apiserver", "etcd"):
        # The apiserver would wait for its watches to end by themselves.
        stop(name, 2)
    subprocess.run(["ip", "link", "del", BRIDGE], stderr=subprocess.DEVNULL)
    for cgroup in cgroups():
        if cgroup.exists():
            cgroup.rmdir()
    if STATE.exists():
        # No node is left that mounts them.
        shutil.rmtree(HOSTPATH_VOLUMES, ignore_errors=True)
        shutil.rmtree(STATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up").add_argument("--nodes", type=int, default=1)
    commands.add_parser("down")
    commands.add_parser("load").add_argument("archives", nargs="+", type=Path)
    tag = commands.add_parser("tag")
    tag.add_argument("old")
    tag.add_argument("new")
    for name in ("stop", "start"):
        commands.add_parser(name).add_argument("node", type=int)
    args = parser.parse_args()
    if args.command == "up":
        up(args.nodes)
    elif args.command == "tag":
        for node in nodes():
            assert node.ctr("images", "tag", "--force", args.old, args.new)
    elif args.command == "stop":
        Node(args.node).down()
    elif args.command == "start":
        Node(args.node).up()
    elif args.command == "down":
        down()
    else:
        for node in nodes():
            for archive in args.archives:
                node.load(archive)


if __name__ == "__main__":
    main()
