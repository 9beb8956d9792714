"""Writes the Helm chart and, of the same objects, the manifest for `kubectl apply`.

    python -m mtv_operator.installation.chart      (`make manifests`)

The definitions of kinds are the chart's `crds` folder, a link to `operator/manifests/crds`. Its
templates are the objects with Helm's words in place of the values; nothing is written
by hand twice.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from mtv_operator.installation import manifest, monitoring
from mtv_operator.installation.settings import IMAGE, Settings

FOLDER = Path(__file__).parents[2] / "manifests"
NOTE = (
    "# Written by `make manifests` from operator/mtv_operator/installation; change that instead.\n"
)
TEMPLATE = Settings(
    image="{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}",
    pull_policy="{{ .Values.image.pullPolicy }}",
    replicas="{{ .Values.replicas }}",
    use_emulation="{{ .Values.useEmulation }}",
    runtime_parts="virtual-machines{{ if .Values.dataVolumes.enabled }},data-volumes{{ end }}",
    uploads="{{ .Values.dataVolumes.enabled }}",
)
RUNTIME_CONDITION = "{{- if .Values.runtime.enabled }}\n"
MONITORING_CONDITION = "{{- if and .Values.runtime.enabled .Values.serviceMonitor.enabled }}\n"
DATA_VOLUMES_CONDITION = "{{- if and .Values.runtime.enabled .Values.dataVolumes.enabled }}\n"
END = "{{- end }}\n"
# A value that is one expression alone may be a number: no quotes around it.
_ALONE = re.compile(r"'(\{\{ \.Values\.replicas \}\})'")
VALUES = """\
# The image of all components.
image:
  repository: {image}
  tag: ""              # default: the chart's appVersion
  pullPolicy: IfNotPresent
# Of each Deployment; one of them leads.
replicas: 2
# Emulate CPUs where KVM does not work: slow.
useEmulation: false
runtime:
  # false where KubeVirt is there already: only migration is installed.
  enabled: true
serviceMonitor:
  # true where a Prometheus operator is.
  enabled: false
dataVolumes:
  # false where CDI is there already: it fills the claims then.
  enabled: true
"""
CHART = """\
apiVersion: v2
name: mtv
description: Move virtual machines out of vSphere and run them on a KubeVirt-style runtime
type: application
version: {version}
appVersion: "{version}"
kubeVersion: ">=1.28.0-0"
"""


class _Plain(yaml.SafeDumper):
    """YAML without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401 - PyYAML's own
        """Write repeated objects out."""
        return True


def documents(found: Iterable[dict[str, Any]]) -> str:
    """Return objects as a stream of YAML."""
    return "".join(
        "---\n" + yaml.dump(one, Dumper=_Plain, sort_keys=False, width=1000) for one in found
    )


def files() -> dict[str, str]:
    """Return all files below `operator/manifests`, by path."""
    version = metadata.version("mtv")
    template = documents(manifest.migration(TEMPLATE))
    runtime = documents(manifest.runtime(TEMPLATE))
    plain = Settings(image=f"{IMAGE}:{version}")
    return {
        "mtv.yaml": NOTE + documents(manifest.objects(plain)),
        "chart/mtv/Chart.yaml": NOTE + CHART.format(version=version),
        "chart/mtv/values.yaml": NOTE + VALUES.format(image=IMAGE),
        "chart/mtv/templates/migration.yaml": NOTE + _ALONE.sub(r"\1", template),
        "chart/mtv/templates/runtime.yaml": NOTE
        + "".join((RUNTIME_CONDITION, _ALONE.sub(r"\1", runtime), END)),
        "chart/mtv/templates/monitoring.yaml": NOTE
        + "".join((MONITORING_CONDITION, documents([monitoring.monitor()]), END)),
        "chart/mtv/templates/data-volumes.yaml": NOTE
        + "".join((DATA_VOLUMES_CONDITION, documents(manifest.data_volumes()), END)),
    }


def main() -> None:
    """Write what differs."""
    for name, text in files().items():
        path = FOLDER / name
        if path.exists() and path.read_text() == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
