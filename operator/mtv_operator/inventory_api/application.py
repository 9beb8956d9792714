"""The routes: Providers, their collections, their trees.

Endpoints block (they wait until an inventory is there) and so run in the pool of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mtv import errors
from mtv.api import forklift
from mtv_operator.inventory_api import cluster, packages, vsphere
from mtv_operator.inventory_api.asking import Caller, Gate, Question, Refusal
from mtv_operator.inventory_api.sources import Sources
from mtv_operator.migration import provider as providers
from mtv_operator.serving import tls

TYPES = ("openshift", "vsphere", "ovirt", "openstack", "ova", "ec2", "hyperv")
SYNC_S = 10.0  # how long a question waits for an inventory, as Forklift's does

Document = dict[str, Any]
Answer = Callable[[Request], Response]


class NotSynced(Exception):
    """The inventory is not complete yet: 206, as Forklift says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the query asks for."""

    detail: int = 0
    name: str = ""
    namespace: str = ""
    limit: int | None = None
    offset: int = 0


def page_of(query: dict[str, str]) -> Page:
    """Return what a query asks for. Raises Refusal (400). Pure."""
    detail = query.get("detail", "0")
    return Page(
        detail=vsphere.ALL if detail == "all" else _number(detail or "0", "detail"),
        name=query.get("name", ""),
        namespace=query.get("namespace", ""),
        limit=_number(query["limit"], "limit") if query.get("limit") else None,
        offset=_number(query.get("offset") or "0", "offset"),
    )


def _number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise Refusal(400, f"{name}: seen {text!r}, expected a number")
    return int(text[:9])


def cut(found: list[Document], page: Page) -> list[Document]:
    """Return the page of a list that is asked for. Pure."""
    end = None if page.limit is None else page.offset + page.limit
    return found[page.offset : end]


def named(name: str, path: str, wanted: str) -> bool:
    """Tell whether a name is meant: by itself, or as the end of a path. Pure."""
    if not wanted:
        return True
    if "/" not in wanted:
        return name == wanted
    return path == wanted or path.endswith("/" + wanted.lstrip("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What answers."""

    sources: Sources
    gate: Gate
    sync_s: float = SYNC_S

    def asgi(self) -> Starlette:
        """Return the ASGI application."""
        one = "/providers/{type}/{uid}"
        routes = [
            Route("/healthz", _healthy),
            Route("/providers", self._all),
            Route("/providers/{type}", self._of_type),
            Route(one, self._one),
            Route(f"{one}/tree/{{kind}}", self._tree),
            Route(f"{one}/{{collection}}", self._list),
            Route(f"{one}/{{collection}}/{{id:path}}", self._get),
        ]
        handlers = {
            Refusal: _refused,
            NotSynced: _not_synced,
            errors.MigrationError: _failed,
            404: _no_such_path,
        }
        return Starlette(routes=routes, exception_handlers=handlers)

    # Providers

    def _all(self, request: Request) -> Response:
        page = self._listing(request)
        return _json({kind: self._described(kind, page) for kind in TYPES})

    def _of_type(self, request: Request) -> Response:
        page = self._listing(request)
        return _json(self._described(_type(request), page))

    def _listing(self, request: Request) -> Page:
        caller = self._caller(request)
        page = page_of(dict(request.query_params))
        self.gate.check(caller, Question(verb="list", namespace=page.namespace))
        return page

    def _described(self, kind: str, page: Page) -> list[Document]:
        found = [
            self._provider(one, page.detail)
            for one in self.sources.providers(page.namespace)
            if one.spec.type == kind and page.name in ("", one.metadata.name)
        ]
        return cut(found, page)

    def _provider(self, one: forklift.Provider, detail: int) -> Document:
        metadata = one.metadata
        found: Document = {
            "uid": metadata.uid,
            "version": metadata.resource_version,
            "namespace": metadata.namespace,
            "name": metadata.name,
            "selfLink": _link(one),
        }
        if detail < 1:
            return found
        found |= {"type": one.spec.type, "object": msgspec.to_builtins(one), "id": metadata.uid}
        if one.spec.type in providers.FOLLOWED:
            inventory = self.sources.view(one).inventory
            found |= vsphere.counts(inventory) if inventory is not None else {}
        elif providers.is_host(one):
            found |= {
                "vmCount": len(cluster.read(self.sources.client, "vms")),
                "networkCount": len(cluster.read(self.sources.client, "networks")),
                "storageClassCount": len(cluster.read(self.sources.client, "storageclasses")),
            }
        return found

    def _one(self, request: Request) -> Response:
        one = self._asked(request)
        return _json(self._provider(one, page_of(dict(request.query_params)).detail))

    # Collections

    def _list(self, request: Request) -> Response:
        one, page = self._asked(request), page_of(dict(request.query_params))
        collection = request.path_params["collection"]
        if one.spec.type in providers.FOLLOWED:
            kind, scene = _collection(one, collection), self._scene(one)
            detail = kind.list_detail if kind.list_detail is not None else page.detail
            found = [
                kind.describe(scene, each, detail)
                for each in kind.all(scene.inventory)
                if named(each.name, each.path, page.name)
            ]
            return _json(cut(found, page))
        return _json(cut(list(self._cluster_list(one, collection, page)), page))

    def _cluster_list(
        self, one: forklift.Provider, collection: str, page: Page
    ) -> Iterable[Document]:
        found = [
            each
            for each in self._cluster_objects(one, collection)
            if page.namespace in ("", each["metadata"].get("namespace", ""))
            and page.name in ("", each["metadata"]["name"])
        ]
        running = cluster.instances(self.sources.client) if collection == "vms" else {}
        for each in found:
            document = cluster.document(_link(one), collection, each, page.detail)
            key = (document["namespace"], document["name"])
            yield {**document, "instance": running[key]} if key in running else document

    def _cluster_objects(self, one: forklift.Provider, collection: str) -> list[Document]:
        if not providers.is_host(one):
            raise Refusal(501, f"inventory of providers of type {one.spec.type} is not served")
        if collection not in cluster.PATHS:
            raise Refusal(404, f"there is no collection {collection!r}")
        return cluster.read(self.sources.client, collection)

    def _get(self, request: Request) -> Response:
        one, page = self._asked(request), page_of(dict(request.query_params))
        collection, wanted = request.path_params["collection"], request.path_params["id"]
        detail = max(page.detail, 1) if "detail" not in request.query_params else page.detail
        if one.spec.type in providers.FOLLOWED:
            kind, scene = _collection(one, collection), self._scene(one)
            for each in kind.all(scene.inventory):
                if each.id == wanted:
                    full = vsphere.ALL if "detail" not in request.query_params else page.detail
                    return _json(kind.describe(scene, each, full))
        else:
            for document in self._cluster_list(one, collection, Page(detail=detail)):
                if wanted in (document["uid"], document["path"]):
                    return _json(document)
        raise Refusal(404, f"there is no {collection}/{wanted}")

    def _tree(self, request: Request) -> Response:
        one, page = self._asked(request), page_of(dict(request.query_params))
        kind = request.path_params["kind"]
        if one.spec.type != providers.VSPHERE or kind not in ("host", "vm"):
            raise Refusal(404, f"there is no tree {kind!r} of a provider of type {one.spec.type}")
        return _json(vsphere.tree(self._scene(one), kind, page.detail))

    # Who asks, and about what

    def _caller(self, request: Request) -> Caller:
        transport = request.scope.get(tls.TRANSPORT)
        peer = transport.get_extra_info("peercert") if transport is not None else None
        return self.gate.caller(request.headers.get("authorization", ""), peer)

    def _asked(self, request: Request) -> forklift.Provider:
        """Return the Provider of the path, once it is known that the caller may read it."""
        caller = self._caller(request)
        kind = _type(request)
        uid = request.path_params["uid"]
        one = self.sources.by_uid(uid)
        if one is None or one.spec.type != kind:
            raise Refusal(404, f"there is no provider {uid}", {"X-Reason": "ProviderNotFound"})
        question = Question(verb="get", namespace=one.metadata.namespace, name=one.metadata.name)
        self.gate.check(caller, question)
        if request.headers.get("x-watch"):
            raise Refusal(501, "watching is not served: ask again instead")
        return one

    def _scene(self, one: forklift.Provider) -> vsphere.Scene:
        view = self.sources.synced(one, self.sync_s)
        if view is None or view.inventory is None:
            raise NotSynced
        return vsphere.Scene(inventory=view.inventory, link=_link(one), revision=view.revision)


def _type(request: Request) -> str:
    kind: str = request.path_params["type"]
    if kind not in TYPES:
        raise Refusal(404, f"there are no providers of type {kind!r}: {', '.join(TYPES)}")
    return kind


def _collection(one: forklift.Provider, name: str) -> vsphere.Collection:
    packaged = one.spec.type == providers.PACKAGES
    known = packages.COLLECTIONS if packaged else vsphere.COLLECTIONS
    found = known.get(name)
    if found is None:
        raise Refusal(404, f"there is no collection {name!r}: {', '.join(known)}")
    return found


def _link(one: forklift.Provider) -> str:
    return f"providers/{one.spec.type}/{one.metadata.uid}"


def _json(found: object) -> Response:
    return Response(msgspec.json.encode(found), media_type="application/json")


def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    content = msgspec.json.encode({"error": message})
    return Response(content, status, headers, media_type="application/json")


def _refused(_request: HTTPConnection, fault: Exception) -> Response:
    assert isinstance(fault, Refusal)
    return _error(fault.status, fault.message, fault.headers)


def _not_synced(_request: HTTPConnection, _fault: Exception) -> Response:
    return Response(status_code=206)


def _failed(_request: HTTPConnection, fault: Exception) -> Response:
    return _error(503, str(fault))


def _no_such_path(_request: HTTPConnection, _fault: Exception) -> Response:
    return _error(404, "there is no such path")
