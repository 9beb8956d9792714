"""The manifest and the chart are what the code says, and say the same."""

import pytest
import yaml

from mtv_operator.installation import chart, documents, manifest, preflight
from mtv_operator.installation.settings import Settings


@pytest.mark.parametrize("name", chart.files())
def test_what_is_committed_is_what_is_generated(name):
    assert (chart.FOLDER / name).read_text() == chart.files()[name], "run `make manifests`"


def rendered(text: str) -> str:
    """Fill in the chart's values as Helm does."""
    values = {
        "{{ .Values.image.repository }}": chart.IMAGE,
        "{{ .Values.image.tag | default .Chart.AppVersion }}": "1",
        "{{ .Values.image.pullPolicy }}": "IfNotPresent",
        "{{ .Values.replicas }}": "2",
        "{{ .Values.useEmulation }}": "false",
        chart.RUNTIME_CONDITION: "",
        chart.END: "",
    }
    for word, value in values.items():
        text = text.replace(word, value)
    assert "{{" not in text
    return text


def test_the_chart_gives_the_manifests_objects():
    plain = Settings(image=f"{chart.IMAGE}:1")
    wanted = [*manifest.migration(plain), *manifest.runtime(plain)]
    text = "".join(
        rendered(chart.files()[f"chart/mtv/templates/{name}.yaml"])
        for name in ("migration", "runtime")
    )

    assert list(yaml.safe_load_all(text)) == wanted


def test_without_the_runtime_nothing_of_kubevirt_is_there():
    found = manifest.objects(Settings(image="mtv:1", runtime=False))

    names = [documents.title(one) for one in found]
    assert not [one for one in names if "virt-" in one or "Namespace kubevirt" in one]
    assert "Deployment mtv/mtv-controller" in names


@pytest.mark.parametrize(
    ("version", "grade"),
    [({"major": "1", "minor": "34"}, "ok"), ({"major": "1", "minor": "27+"}, "failed")],
    ids=["new enough", "too old"],
)
def test_the_version_of_the_cluster_is_judged(version, grade):
    assert preflight.version({**version, "gitVersion": "v"}).grade == grade
