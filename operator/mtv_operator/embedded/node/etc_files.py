"""Files of /etc that a pod has for itself: hosts and resolv.conf. Pure but for reading ours."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from mtv.api.core import Pod, PodDNSConfig

RESOLVED = Path("/run/systemd/resolve/resolv.conf")  # the servers behind a resolver on loopback
SYSTEM = Path("/etc/resolv.conf")


def hosts(pod: Pod, hostname: str, address: str) -> str:
    """Return /etc/hosts of a pod with an address of its own."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    names = [hostname]
    if pod.spec and pod.spec.hostname and pod.spec.subdomain:
        domain = f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc.cluster.local"
        names.insert(0, f"{hostname}.{domain}")
    lines.append("\t".join([address, *names]))
    aliases = pod.spec.host_aliases if pod.spec else ()
    lines += ["\t".join([alias.ip, *alias.hostnames]) for alias in aliases]
    return "\n".join(lines) + "\n"


def resolv_conf(pod: Pod) -> str:
    """Return /etc/resolv.conf of a pod, from the machine's and the pod's own settings."""
    given = (pod.spec.dns_config if pod.spec else None) or PodDNSConfig()
    policy = pod.spec.dns_policy if pod.spec else None
    servers, searches, options = parse("" if policy == "None" else _machine())
    servers = [*given.nameservers, *servers]
    searches = [*given.searches, *searches]
    options += [f"{one.name}:{one.value}" if one.value else str(one.name) for one in given.options]
    lines = [f"nameserver {one}" for one in dict.fromkeys(servers)]
    if searches:
        lines.append("search " + " ".join(dict.fromkeys(searches)))
    if options:
        lines.append("options " + " ".join(dict.fromkeys(options)))
    return "\n".join(lines) + "\n" if lines else ""


def parse(text: str) -> tuple[list[str], list[str], list[str]]:
    """Return servers, search domains and options of a resolv.conf."""
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in text.splitlines():
        key, *values = line.split("#")[0].split() or [""]
        if key in found:
            found[key] = found[key] + values if key == "nameserver" else values
    return found["nameserver"], found["search"], found["options"]


def _machine() -> str:
    text = _text(SYSTEM)
    if only_loopback(parse(text)[0]):
        return _text(RESOLVED) or text
    return text


def only_loopback(servers: Sequence[str]) -> bool:
    """Tell whether all servers are on the machine itself, where a pod does not reach them."""
    try:
        return all(ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in servers)
    except ValueError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
