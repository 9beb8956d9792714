"""Write `wire_fields.txt`: the numbers of fields in Kubernetes' protobuf, from its Go modules.

Run by hand when Kubernetes' types change, with the folder of Go modules that has `k8s.io/api` and
`k8s.io/apimachinery` (`go mod download k8s.io/api@v0.34.4`):

    python tests/mtv_operator/embedded/apiserver/write_wire_fields.py ~/go/pkg/mod/k8s.io v0.34.4
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
OUT = ROOT / "operator/mtv_operator/embedded/apiserver/wire_fields.txt"
HEAD = """\
# Kubernetes 1.34's protobuf: for each type the numbers, names and types of its fields. `[]` is a
# list, `{}` a map from strings, `*` may be absent, `+` is part of the type itself in JSON.
# Facts from the generated.proto and types.go files of k8s.io/api and k8s.io/apimachinery.
"""
PACKAGES = {
    "admissionregistration": "api",
    "apps": "api",
    "authentication": "api",
    "authorization": "api",
    "autoscaling": "api",
    "batch": "api",
    "coordination": "api",
    "core": "api",
    "discovery": "api",
    "events": "api",
    "policy": "api",
    "rbac": "api",
    "scheduling": "api",
    "storage": "api",
    "meta": "apimachinery",
}
ROOTS = [
    "admissionregistration.v1.MutatingWebhookConfiguration",
    "admissionregistration.v1.ValidatingWebhookConfiguration",
    "apps.v1.ControllerRevision",
    "authentication.v1.SelfSubjectReview",
    "authentication.v1.TokenRequest",
    "authentication.v1.TokenReview",
    "authorization.v1.LocalSubjectAccessReview",
    "authorization.v1.SelfSubjectAccessReview",
    "authorization.v1.SelfSubjectRulesReview",
    "authorization.v1.SubjectAccessReview",
    "autoscaling.v1.Scale",
    "batch.v1.Job",
    "coordination.v1.Lease",
    "core.v1.Binding",
    "core.v1.ConfigMap",
    "core.v1.Endpoints",
    "core.v1.Event",
    "core.v1.Namespace",
    "core.v1.Node",
    "core.v1.PersistentVolume",
    "core.v1.PersistentVolumeClaim",
    "core.v1.Pod",
    "core.v1.Secret",
    "core.v1.Service",
    "core.v1.ServiceAccount",
    "discovery.v1.EndpointSlice",
    "events.v1.Event",
    "meta.v1.DeleteOptions",
    "policy.v1.Eviction",
    "policy.v1.PodDisruptionBudget",
    "rbac.v1.ClusterRole",
    "rbac.v1.ClusterRoleBinding",
    "rbac.v1.Role",
    "rbac.v1.RoleBinding",
    "scheduling.v1.PriorityClass",
    "storage.v1.StorageClass",
]
SCALARS = ("bool", "bytes", "double", "int32", "int64", "string")
FIELD = re.compile(
    r"(?P<label>optional|repeated|map<string, ?(?P<value>[\w.]+)>)\s+(?:(?P<type>[\w.]+)\s+)?"
    r"(?P<name>\w+) = (?P<number>\d+);"
)
GO_FIELD = re.compile(r"^\t(?:(\w+)\s+)?(\S+)\s+`(?:[^`]*)json:\"([^\"]*)\"[^`]*`")


def main() -> None:
    modules, version = Path(sys.argv[1]), sys.argv[2]
    messages: dict[str, list[tuple[str, ...]]] = {}
    pointers: dict[str, set[str]] = {}
    inlined: dict[str, set[str]] = {}
    for group, module in PACKAGES.items():
        folder = modules / f"{module}@{version}" / ("" if module == "api" else "pkg/apis") / group
        package = f"{group}.v1"
        read_messages(package, (folder / "v1/generated.proto").read_text(), messages)
        for source in sorted((folder / "v1").glob("*.go")):
            if "generated" not in source.name and not source.name.endswith("_test.go"):
                read_go(package, source.read_text(), pointers, inlined)
    lines = [HEAD.rstrip()]
    for name in reachable(messages):
        lines.append(name)
        for number, field, kind, shape in messages[name]:
            mark = "+" if field.lower() in inlined.get(name, ()) else ""
            pointer = "*" if field in pointers.get(name, ()) and not shape else ""
            lines.append(f"  {number} {field} {mark}{shape}{pointer}{kind}")
    OUT.write_text("\n".join(lines) + "\n")


def read_messages(package: str, text: str, into: dict[str, list[tuple[str, ...]]]) -> None:
    for match in re.finditer(r"^message (\w+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        fields = []
        for line in match[2].splitlines():
            found = FIELD.search(line) if "//" not in line else None
            if found:
                label = found["label"]
                kind = found["value"] or found["type"] or ""
                shape = {"optional": "", "repeated": "[]"}.get(label, "{}")
                fields.append((found["number"], found["name"], short(kind, package), shape))
        into[f"{package}.{match[1]}"] = fields


def short(kind: str, package: str) -> str:
    if kind in SCALARS:
        return kind
    if kind.startswith(".k8s.io.apimachinery.pkg."):
        rest = kind.removeprefix(".k8s.io.apimachinery.pkg.").removeprefix("apis.")
        last = rest.rpartition(".")[2]
        return last if last in ("Quantity", "IntOrString", "RawExtension") else rest
    if kind.startswith(".k8s.io.api."):
        return kind.removeprefix(".k8s.io.api.")
    if kind in ("Time", "MicroTime", "FieldsV1", "Duration") and package == "meta.v1":
        return f"meta.v1.{kind}"
    return f"{package}.{kind}"


def read_go(
    package: str, text: str, pointers: dict[str, set[str]], inlined: dict[str, set[str]]
) -> None:
    for match in re.finditer(r"^type (\w+) struct \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        name = f"{package}.{match[1]}"
        for line in match[2].splitlines():
            found = GO_FIELD.match(line)
            if not found:
                continue
            kind, tag = found[2], found[3]
            if ",inline" in tag or tag.startswith(","):
                embedded = (found[1] or kind.rpartition(".")[2]).lower()
                inlined.setdefault(name, set()).add(embedded)
                if match[1] == "Probe":
                    inlined[name].add("handler")  # its name in the protobuf
            elif kind.startswith("*"):
                pointers.setdefault(name, set()).add(tag.partition(",")[0])


def reachable(messages: dict[str, list[tuple[str, ...]]]) -> list[str]:
    seen: set[str] = set()
    left = list(ROOTS)
    while left:
        name = left.pop()
        if name in seen or name not in messages:
            continue
        if name in ("meta.v1.Time", "meta.v1.MicroTime", "meta.v1.FieldsV1"):
            continue
        seen.add(name)
        left += [field[2] for field in messages[name]]
    return sorted(seen)


if __name__ == "__main__":
    main()
