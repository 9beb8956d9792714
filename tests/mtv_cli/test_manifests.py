"""YAML files: read and checked before anything is sent; each mistake is named by its place."""

import pytest

from mtv import errors
from mtv.cli import manifests
from mtv.cli.manifests import Document, Server

PLAN = """
apiVersion: forklift.konveyor.io/v1beta1
kind: Plan
metadata: {name: web, namespace: mtv}
"""


def test_documents_are_numbered_and_lists_are_taken_apart():
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: a}}"
    text = f"---\n{PLAN}---\n---\nkind: List\nitems: [{pod}]\n"
    found = manifests.parse("all.yaml", text)
    assert [(one.number, one.shown) for one in found] == [
        (1, "plan.forklift.konveyor.io/web"),
        (3, "pod/a"),
    ]


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("a: [1", "x.yaml, document 1, line 1, column 6", "flow sequence"),
        (f"{PLAN}---\na: b: c", "x.yaml, document 2, line 6, column 5", "mapping values"),
        ("just text", "x.yaml, document 1", "seen a str"),
        ("- 1", "x.yaml, document 1", "seen a list"),
        ("kind: Pod", "x.yaml, document 1, apiVersion", "missing"),
        ("apiVersion: v1", "x.yaml, document 1, kind", "missing"),
        ("apiVersion: v1\nkind: Pod", "x.yaml, document 1, metadata", "missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}", "x.yaml, document 1, metadata.name", "missing"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: 5}",
            "x.yaml, document 1, metadata.name",
            "no text",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a/../../b}",
            "x.yaml, document 1, metadata.name",
            "not a name",
        ),
        ("a: !!python/object:os.system {}", "x.yaml, document 1", "could not determine"),
    ],
)
def test_mistake_is_named_by_file_document_and_field(text, field, words):
    with pytest.raises(errors.BadInput, match=words) as caught:
        manifests.parse("x.yaml", text)
    assert caught.value.field.startswith(field)


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(errors.NotFound, match=r"none\.yaml does not exist"):
        manifests.read([str(tmp_path / "none.yaml")])


def test_file_without_objects_is_refused(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    with pytest.raises(errors.BadInput, match="no objects in"):
        manifests.read([str(tmp_path / "empty.yaml")])


def test_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "disk.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(errors.BadInput, match="not UTF-8"):
        manifests.read([str(tmp_path / "disk.yaml")])


def test_folder_is_read_in_the_order_of_its_names(tmp_path):
    for name in ("b.yaml", "a.yml", "skipped.txt"):
        (tmp_path / name).write_text(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name[0]}}}")
    assert [one.name for one in manifests.read([str(tmp_path)])] == ["a", "b"]


class Answers:
    """A server that has a few answers, and remembers what it was asked."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def __call__(self, method, path, body, content_type, query):
        self.asked.append((method, path))
        found = self.answers.get(method, errors.NotFound(f"{path} is not there"))
        if isinstance(found, Exception):
            raise found
        return found


def document(**fields):
    content = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, **fields}
    return Document(source="x.yaml", number=2, content=content)


def test_objects_without_namespace_go_where_the_option_says():
    server = Server(Answers(), "mine")
    assert server.path(document()) == "/api/v1/namespaces/mine/pods/a"
    there = document(metadata={"name": "a", "namespace": "theirs"})
    assert server.path(there) == "/api/v1/namespaces/theirs/pods/a"
    node = document(kind="Node")
    assert server.path(node) == "/api/v1/nodes/a"


def test_kind_that_we_do_not_know_is_asked_for_once():
    listed = {"resources": [{"name": "tests", "kind": "Test", "namespaced": True}]}
    answers = Answers(GET=listed)
    server = Server(answers, "n")
    wish = document(apiVersion="example.com/v1", kind="Test")
    assert server.path(wish) == "/apis/example.com/v1/namespaces/n/tests/a"
    with pytest.raises(errors.BadInput, match="no kind Tset in example") as caught:
        server.path(document(apiVersion="example.com/v1", kind="Tset"))
    assert caught.value.field == "x.yaml, document 2, kind"
    assert len(answers.asked) == 1


def version(number):
    return {"metadata": {"resourceVersion": number}}


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [(None, "1", "created"), ("1", "1", "unchanged"), ("1", "2", "configured")],
)
def test_apply_says_what_has_changed(before, after, word):
    answers = {"PATCH": version(after)}
    if before:
        answers["GET"] = version(before)
    assert Server(Answers(**answers), "n").apply(document()) == word


def test_refusal_names_the_document():
    refused = Answers(PATCH=errors.BadInput("Invalid value: 5", field="spec.x"))
    with pytest.raises(errors.BadInput) as caught:
        Server(refused, "n").apply(document())
    assert str(caught.value) == "x.yaml, document 2, spec.x: Invalid value: 5"
    forbidden = Answers(PATCH=errors.Forbidden("may not"))
    with pytest.raises(errors.Forbidden, match=r"x\.yaml, document 2: may not"):
        Server(forbidden, "n").apply(document())


def test_delete_tells_what_was_not_there():
    assert Server(Answers(), "n").delete(document()) is False
    assert Server(Answers(DELETE={}), "n").delete(document()) is True
