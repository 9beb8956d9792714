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
        "{{ if .Values.dataVolumes.enabled }},data-volumes{{ end }}": ",data-volumes",
        "{{ .Values.dataVolumes.enabled }}": "true",
        chart.RUNTIME_CONDITION: "",
        chart.DATA_VOLUMES_CONDITION: "",
        chart.END: "",
    }
    for word, value in values.items():
        text = text.replace(word, value)
    assert "{{" not in text
    return text


def test_the_chart_gives_the_manifests_objects():
    plain = Settings(image=f"{chart.IMAGE}:1")
    wanted = [
        *manifest.migration(plain),
        *manifest.runtime(plain),
        *manifest.data_volumes(),
    ]
    text = "".join(
        rendered(chart.files()[f"chart/mtv/templates/{name}.yaml"])
        for name in ("migration", "runtime", "data-volumes")
    )

    assert list(yaml.safe_load_all(text)) == wanted


def test_without_the_runtime_nothing_of_kubevirt_is_there():
    found = manifest.objects(Settings(image="mtv:1", runtime=False))

    names = [documents.title(one) for one in found]
    assert not [one for one in names if "virt-" in one or "Namespace kubevirt" in one]
    assert "Deployment mtv/mtv-controller" in names


def test_beside_another_cdi_claims_are_left_to_it():
    found = manifest.objects(Settings(image="mtv:1", data_volumes=False))

    assert not [one for one in found if "cdi.kubevirt.io" in one["metadata"]["name"]]
    commands = [
        word
        for one in found
        if one["kind"] == "Deployment"
        for word in one["spec"]["template"]["spec"]["containers"][0]["command"]
    ]
    assert "virtual-machines" in commands
    assert "--uploads=false" in commands


def test_each_deployment_has_what_a_busy_cluster_asks_for():
    found = manifest.objects(Settings(image="mtv:1"))
    budgets = {one["metadata"]["name"] for one in found if one["kind"] == "PodDisruptionBudget"}
    policies = {one["metadata"]["name"] for one in found if one["kind"] == "NetworkPolicy"}
    classes = {one["metadata"]["name"] for one in found if one["kind"] == "PriorityClass"}

    for one in found:
        if one["kind"] != "Deployment":
            continue
        name, pod = one["metadata"]["name"], one["spec"]["template"]["spec"]
        assert one["spec"]["replicas"] == 2
        assert pod["priorityClassName"] in classes
        assert f"{name}-pdb" in budgets or name == "virt-operator"
        assert name in policies
        (container,) = pod["containers"]
        assert container["resources"]["requests"]
        assert container["securityContext"]["readOnlyRootFilesystem"]


@pytest.mark.parametrize(
    ("labels", "foreign"),
    [
        ({}, False),
        ({"app.kubernetes.io/managed-by": "Helm"}, False),
        ({"app.kubernetes.io/managed-by": "virt-operator"}, True),
        ({"olm.managed": "true"}, True),
    ],
    ids=["ours", "ours by Helm", "upstream's operator", "OLM"],
)
def test_who_owns_the_kinds_is_seen_from_their_marks(labels, foreign):
    assert preflight.has_owner({"metadata": {"labels": labels}}) is foreign
    assert not preflight.has_owner(None)


@pytest.mark.parametrize(
    ("version", "grade"),
    [({"major": "1", "minor": "34"}, "ok"), ({"major": "1", "minor": "27+"}, "failed")],
    ids=["new enough", "too old"],
)
def test_the_version_of_the_cluster_is_judged(version, grade):
    assert preflight.version({**version, "gitVersion": "v"}).grade == grade
