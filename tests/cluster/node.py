"""A node: a kubelet, a containerd and a kube-proxy in namespaces of their own.

/run and the state directories below /var/lib are private to each node at their usual paths;
everything else is the machine's.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from parts import (
    BIN,
    BRIDGE,
    CGROUP,
    CGROUPS,
    DOMAIN,
    GATEWAY,
    PAUSE_IMAGE,
    POD_CIDR,
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
    write_json,
)

# What a kubelet wants of the kernel. The values are the machine's, so a node
# sees files of its own in their place and changes nothing.
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
NODE_DIRS = (
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/cni",
    "/var/lib/kubevirt",
    "/var/log/pods",
    "/var/log/containers",
    "/etc/cni/net.d",
)


@dataclass
class Node:
    index: int

    @property
    def name(self) -> str:
        return f"node{self.index}"

    @property
    def address(self) -> str:
        return f"10.213.0.{10 + self.index}"

    @property
    def pod_cidr(self) -> str:
        return f"10.244.{self.index}.0/24"

    @property
    def home(self) -> Path:
        return STATE / "nodes" / self.name

    @property
    def holder(self) -> int:
        return int((STATE / f"pid/{self.name}").read_text().split()[0])

    @property
    def enter(self) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self.holder), "--net", "--mount", "--uts", "--")

    def run(self, *argv, **kwargs):
        return run(*self.enter, *argv, **kwargs)

    def up(self) -> None:
        self.namespaces()
        self.network()
        self.containerd()
        self.kubelet()
        self.proxy()

    def namespaces(self) -> None:
        for path in NODE_DIRS:
            Path(path).mkdir(parents=True, exist_ok=True)
            (self.home / path[1:]).mkdir(parents=True, exist_ok=True)
        setup = [
            "mount --make-rshared /",
            "mount -t tmpfs -o mode=755 run /run",
            "mkdir /run/lock /run/netns",
        ]
        for path in NODE_DIRS:
            setup += [f"mount --bind {self.home}{path} {path}", f"mount --make-rshared {path}"]
        for name, value in SYSCTLS.items():
            stand_in = write(self.home / "sysctl" / name, value + "\n")
            setup.append(f"mount --bind {stand_in} /proc/sys/{name}")
        setup += [f"hostname {self.name}", f"touch {self.home}/ready", "exec sleep infinity"]
        (self.home / "ready").unlink(missing_ok=True)
        start(self.name, "unshare", "--net", "--mount", "--uts", "--propagation", "private",
              "sh", "-ec", "\n".join(setup))  # fmt: skip
        wait_for(f"namespaces of {self.name}", (self.home / "ready").exists, 10)
        for top in cgroups():
            for cgroup in (top, top / self.name):
                cgroup.mkdir(exist_ok=True)
                # A cgroup v1 cpuset begins empty, and then nothing can run in it.
                for leaf in ("cpuset.cpus", "cpuset.mems"):
                    if (cgroup / leaf).exists() and not (cgroup / leaf).read_text().strip():
                        (cgroup / leaf).write_text((cgroup.parent / leaf).read_text())

    def network(self) -> None:
        link = f"{BRIDGE}-{self.index}"
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", self.holder)
        run("ip", "link", "set", link, "master", BRIDGE, "up")
        run("ip", "route", "replace", self.pod_cidr, "via", self.address)
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "add", "default", "via", GATEWAY)
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.forwarding=1")
        for path in (STATE / "nodes").iterdir():
            other = Node(int(path.name.removeprefix("node")))
            if other.index != self.index and (STATE / f"pid/{other.name}").exists():
                self.run("ip", "route", "replace", other.pod_cidr, "via", other.address)
                other.run("ip", "route", "replace", self.pod_cidr, "via", self.address)
        write_json(
            self.home / "etc/cni/net.d/10-bridge.conflist",
            {
                "cniVersion": "1.0.0",
                "name": "pods",
                "plugins": [
                    {
                        "type": "bridge",
                        "bridge": "cni0",
                        "isGateway": True,
                        "ipMasq": False,
                        "hairpinMode": True,
                        "ipam": {
                            "type": "host-local",
                            "ranges": [[{"subnet": self.pod_cidr}]],
                            "routes": [{"dst": "0.0.0.0/0"}],
                        },
                    },
                    {"type": "portmap", "capabilities": {"portMappings": True}},
                ],
            },
        )

    def containerd(self) -> None:
        config = write(
            self.home / "containerd.toml",
            f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE no process may ask for less than it has.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
""",
        )
        start(f"{self.name}-containerd", "containerd", "--config", config, inside=self.enter)
        wait_for(f"containerd of {self.name}", lambda: self.ctr("version", quiet=True), 30)
        pause = STATE / "pause.tar"
        if not pause.exists():
            run(sys.executable, Path(__file__).with_name("image.py"), PAUSE_IMAGE, pause,
                "--file", f"{BIN}/pause:/pause", "--entrypoint", "/pause")  # fmt: skip
        self.load(pause)

    def ctr(self, *argv, quiet: bool = False) -> bool:
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} if quiet else {}
        return (
            subprocess.run(
                [*self.enter, "ctr", "-n", "k8s.io", *map(str, argv)], **output
            ).returncode
            == 0
        )

    def load(self, archive: Path) -> None:
        if not self.ctr("images", "import", "--snapshotter", "overlayfs", archive.resolve()):
            raise SystemExit(f"{self.name} does not take {archive}")

    def kubelet(self) -> None:
        ca = Authority("ca")
        client = ca.issue(self.name, f"/O=system:nodes/CN=system:node:{self.name}",
                          f"IP:{self.address}", f"DNS:{self.name}")  # fmt: skip
        config = write_json(
            self.home / "kubelet.json",
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "authentication": {
                    "anonymous": {"enabled": False},
                    "x509": {"clientCAFile": str(ca.cert)},
                },
                "authorization": {"mode": "Webhook"},
                "tlsCertFile": str(client[0]),
                "tlsPrivateKeyFile": str(client[1]),
                "cgroupDriver": "cgroupfs",
                "cgroupRoot": f"/{CGROUP}/{self.name}",
                "failCgroupV1": False,
                "failSwapOn": False,
                "clusterDomain": DOMAIN,
                "clusterDNS": [GATEWAY],
                "resolvConf": "",
                "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
                "evictionHard": {
                    "memory.available": "100Mi",
                    "nodefs.available": "1%",
                    "imagefs.available": "1%",
                },
                "imageGCHighThresholdPercent": 100,
                "imageGCLowThresholdPercent": 99,
                "maxPods": 60,
                "oomScoreAdj": 0,
                "registerNode": True,
            },
        )
        start(f"{self.name}-kubelet", BIN / "kubelet", "--config", config,
              "--kubeconfig", kubeconfig(self.name, ca, *client),
              "--hostname-override", self.name, "--node-ip", self.address,
              inside=self.enter)  # fmt: skip

    def proxy(self) -> None:
        config = write_json(
            self.home / "proxy.json",
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "clientConnection": {"kubeconfig": str(STATE / "proxy.kubeconfig")},
                "mode": os.environ.get("E2E_PROXY_MODE", "nftables"),
                "clusterCIDR": POD_CIDR,
                "hostnameOverride": self.name,
                "oomScoreAdj": 0,
                # These sysctls belong to the machine's first network namespace.
                "conntrack": {
                    "maxPerCore": 0,
                    "min": 0,
                    "tcpEstablishedTimeout": "0s",
                    "tcpCloseWaitTimeout": "0s",
                },
            },
        )
        start(f"{self.name}-proxy", BIN / "kube-proxy", "--config", config, inside=self.enter)

    def ready(self) -> bool:
        body = get(f"/api/v1/nodes/{self.name}")
        conditions = json.loads(body)["status"].get("conditions", []) if body else []
        return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    def down(self) -> None:
        stop(f"{self.name}-kubelet")
        stop(f"{self.name}-proxy")
        stop(f"{self.name}-containerd")
        self.end_processes()
        stop(self.name)
        for command in (
            ["ip", "link", "del", f"{BRIDGE}-{self.index}"],
            ["ip", "route", "del", self.pod_cidr],
        ):
            subprocess.run(command, stderr=subprocess.DEVNULL)
        for top in cgroups():
            for path, _, _ in os.walk(top / self.name, topdown=False):
                os.rmdir(path)

    def end_processes(self) -> None:
        """End the node's pods and their shims: what is in its cgroups or its mount namespace."""
        if not (STATE / f"pid/{self.name}").exists():
            return
        pods = CGROUPS / "pids" / CGROUP / self.name
        namespace = mount_namespace(self.holder)

        def members() -> set[int]:
            found = {
                int(line)
                for file in pods.rglob("cgroup.procs")
                for line in file.read_text().split()
            }
            if namespace:
                found |= {
                    int(i.name)
                    for i in Path("/proc").glob("[0-9]*")
                    if mount_namespace(i.name) == namespace
                }
            return found - {self.holder}

        def gone() -> bool:
            left = members()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        wait_for(f"end of the processes of {self.name}", gone, 20)


def mount_namespace(pid: int | str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def nodes() -> list[Node]:
    """The nodes of the last `up`, in order."""
    return sorted(
        (Node(int(home.name.removeprefix("node"))) for home in (STATE / "nodes").glob("node*")),
        key=lambda node: node.index,
    )
