"""YAML files with API objects: read and checked before anything is sent, then applied or deleted.

Not a command: `apply` and `delete` share it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mtv import errors
from mtv.api import meta

ENDINGS = (".yaml", ".yml", ".json")
MANAGER = "mtv"
KINDS = (  # modules of mtv.api
    "core",
    "forklift",
    "kubevirt",
    "instancetype",
    "migrations",
    "cdi",
    "installation",
    "mtv",
)
# Kinds that nothing in mtv.api describes, so that no discovery is needed for common files.
MORE = {
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): ("customresourcedefinitions", False),
    ("batch/v1", "Job"): ("jobs", True),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): ("clusterroles", False),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): ("clusterrolebindings", False),
    ("rbac.authorization.k8s.io/v1", "Role"): ("roles", True),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): ("rolebindings", True),
}

# (method, path, body, content type, query) -> the answer
Send = Callable[[str, str, Any, str, Sequence[tuple[str, str]]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One object of a file, and where it stands there."""

    source: str
    number: int
    content: dict[str, Any]

    @property
    def where(self) -> str:
        """Return where it stands, for messages."""
        return f"{self.source}, document {self.number}"

    @property
    def api_version(self) -> str:
        """Return its `group/version`."""
        return str(self.content["apiVersion"])

    @property
    def kind(self) -> str:
        """Return its kind."""
        return str(self.content["kind"])

    @property
    def name(self) -> str:
        """Return its name."""
        return str(self.content["metadata"]["name"])

    @property
    def shown(self) -> str:
        """Return it as kubectl prints it: `plan.forklift.konveyor.io/web`."""
        group = self.api_version.rpartition("/")[0]
        return f"{self.kind.lower()}{'.' if group else ''}{group}/{self.name}"


def read(names: Sequence[str]) -> list[Document]:
    """Return the objects of files, folders and `-` (stdin). Raises errors that name the place."""
    found: list[Document] = []
    for name in names:
        for source, text in texts(name):
            found += parse(source, text)
    if not found:
        raise errors.BadInput(f"no objects in {', '.join(names)}")
    return found


def texts(name: str) -> Iterator[tuple[str, str]]:
    """Yield what is read, with the name of its file. Raises NotFound, Forbidden, BadInput."""
    if name == "-":
        yield "stdin", sys.stdin.read()
        return
    path = Path(name)
    files = [path]
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix in ENDINGS)
        if not files:
            raise errors.NotFound(f"{path} holds no file that ends with {', '.join(ENDINGS)}")
    for file in files:
        try:
            yield str(file), file.read_text(encoding="utf-8")
        except FileNotFoundError as fault:
            raise errors.NotFound(f"{file} does not exist") from fault
        except PermissionError as fault:
            raise errors.Forbidden(f"{file} may not be read") from fault
        except UnicodeDecodeError as fault:
            raise errors.BadInput(f"it is not UTF-8 text: {fault}", field=str(file)) from fault
        except OSError as fault:
            raise errors.BadInput(str(fault.strerror), field=str(file)) from fault


def parse(source: str, text: str) -> list[Document]:
    """Return the objects of a text; items of a List one by one. Raises BadInput."""
    found: list[Document] = []
    number = 0
    try:
        for number, content in enumerate(yaml.safe_load_all(text), 1):
            if content is None:
                continue
            items = [content]
            if isinstance(content, dict) and str(content.get("kind", "")).endswith("List"):
                items = content.get("items") or []
            found += [check(source, number, item) for item in items]
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join(part for part in (fault.context, fault.problem) if part)
        raise errors.BadInput(
            problem, field=f"{source}, document {number + 1}{line}", hint="it is not valid YAML"
        ) from fault
    except (yaml.YAMLError, RecursionError, ValueError) as fault:
        place = f"{source}, document {number + 1}"
        raise errors.BadInput(str(fault), field=place, hint="it is not valid YAML") from fault
    return found


def check(source: str, number: int, content: object) -> Document:
    """Return a document that can be sent. Raises BadInput naming file, document and field."""
    where = f"{source}, document {number}"
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise errors.BadInput(
            f"seen a {kind}, expected an object with apiVersion and kind", field=where
        )
    for field in ("apiVersion", "kind"):
        if not isinstance(content.get(field), str) or not content[field]:
            raise errors.BadInput("it is missing or no text", field=f"{where}, {field}")
    metadata = content.get("metadata")
    if not isinstance(metadata, dict):
        raise errors.BadInput("it is missing or no object", field=f"{where}, metadata")
    for field, needed in (("name", True), ("namespace", False)):
        value = metadata.get(field)
        if value is None and not needed:
            continue
        if not isinstance(value, str) or not value:
            raise errors.BadInput("it is missing or no text", field=f"{where}, metadata.{field}")
        if "/" in value or value in (".", ".."):
            raise errors.BadInput(f"{value!r} is not a name", field=f"{where}, metadata.{field}")
    return Document(source=source, number=number, content=content)


def known() -> dict[tuple[str, str], tuple[str, bool]]:
    """Return (apiVersion, kind) to (plural, namespaced) of the kinds that we know."""
    found = dict(MORE)
    for name in KINDS:
        module = importlib.import_module(f"mtv.api.{name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, meta.Object):
                resource = getattr(value, "resource", None)
                if resource is not None:
                    key = (resource.api_version, value.kind_name())
                    found[key] = (resource.plural, resource.namespaced)
    return found


class Server:
    """Objects of any kind on an API server."""

    def __init__(self, send: Send, namespace: str) -> None:
        self.send = send
        self.namespace = namespace
        self._known = known()
        self._asked: set[str] = set()

    def path(self, document: Document) -> str:
        """Return the path of an object. Raises BadInput for a kind that the server has not."""
        key = (document.api_version, document.kind)
        if key not in self._known and document.api_version not in self._asked:
            self._discover(document.api_version)
        if key not in self._known:
            raise errors.BadInput(
                f"the server has no kind {document.kind} in {document.api_version}",
                field=f"{document.where}, kind",
                hint="is its CustomResourceDefinition applied, and is the spelling right?",
            )
        plural, namespaced = self._known[key]
        parts = [self._root(document.api_version)]
        if namespaced:
            given = document.content["metadata"].get("namespace")
            parts += ["namespaces", given or self.namespace]
        return "/".join([*parts, plural, document.name])

    def _root(self, api_version: str) -> str:
        return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"

    def _discover(self, api_version: str) -> None:
        self._asked.add(api_version)
        try:
            listed = self.send("GET", self._root(api_version), None, "application/json", ())
        except (errors.NotFound, errors.BadInput):
            return
        for one in listed.get("resources", ()):
            if "/" not in one["name"]:
                key = (api_version, one["kind"])
                self._known[key] = (one["name"], bool(one["namespaced"]))

    def apply(self, document: Document, *, dry_run: bool = False) -> str:
        """Apply an object; return `created`, `configured` or `unchanged`. Raises MigrationError."""
        path = self.path(document)
        with placed(document):
            before = self._version(path)
            content = document.content
            namespace = (
                path.split("/namespaces/")[1].split("/")[0] if "/namespaces/" in path else ""
            )
            if namespace and path.split("/")[-2] != "namespaces":
                metadata = {**content["metadata"], "namespace": namespace}
                content = {**content, "metadata": metadata}
            query = [("fieldManager", MANAGER), ("force", "true"), ("fieldValidation", "Strict")]
            if dry_run:
                query.append(("dryRun", "All"))
            answer = self.send("PATCH", path, content, "application/apply-patch+yaml", query)
        after = answer["metadata"].get("resourceVersion", "")
        if before is None:
            return "created"
        return "unchanged" if before == after else "configured"

    def delete(self, document: Document) -> bool:
        """Delete an object; tell whether it was there. Raises MigrationError."""
        path = self.path(document)
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        with placed(document):
            try:
                self.send("DELETE", path, options, "application/json", ())
            except errors.NotFound:
                return False
        return True

    def exists(self, document: Document) -> bool:
        """Tell whether an object is there."""
        return self._version(self.path(document)) is not None

    def _version(self, path: str) -> str | None:
        try:
            found = self.send("GET", path, None, "application/json", ())
        except errors.NotFound:
            return None
        return str(found["metadata"].get("resourceVersion", ""))


class placed:
    """Adds to an error which document it is about."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, errors.BadInput):
            field = f", {error.field}" if error.field else ""
            raise errors.BadInput(
                error.message, field=f"{self.document.where}{field}", hint=error.hint
            ) from error
        if isinstance(error, errors.NeedsOperator):
            message = f"{self.document.where}: {error.message}"
            raise type(error)(message, hint=error.hint) from error
