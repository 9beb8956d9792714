"""Tags of VMs, from vCenter's REST API; ESXi hosts and old vCenters have none.

Tags are worth having, never worth failing for: what goes wrong becomes a note. `/api` is served
since vSphere 7.0 U2; `/rest` before that, and beside it until 8.0.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mtv.inventory.model import Moref, Tag

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

_LOG = logging.getLogger(__name__)

_TIMEOUT_S = 20.0
_BATCH = 500  # objects asked for at once
_SESSION_HEADER = "vmware-api-session-id"


class _Refused(Exception):
    """The REST API says no, or something that is not its answer."""


def tags_of_vms(session: Session) -> tuple[dict[Moref, tuple[Tag, ...]], tuple[str, ...]]:
    """Return the tags by VM, and a note where they cannot be read."""
    if not session.is_vcenter:
        return {}, ()
    try:
        with _Rest(session) as rest:
            return rest.tags_of_vms(), ()
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, _Refused) as error:
        _LOG.info("no tags from %s: %r", session.server, error)
        return {}, (f"tags cannot be read from {session.server}: {error}",)


class _Rest:
    """A login at vCenter's REST API, `/api` or else `/rest`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        self._connection = http.client.HTTPSConnection(
            session.endpoint.host, session.endpoint.port, timeout=_TIMEOUT_S, context=session.tls
        )
        self._base = ""

    def __enter__(self) -> _Rest:
        basic = base64.b64encode(self._session.basic_credentials.encode()).decode()
        login = {**self._headers, "Authorization": f"Basic {basic}"}
        for base, path in (("/api", "/api/session"), ("/rest", "/rest/com/vmware/cis/session")):
            status, answer = self._request("POST", path, login)
            if status in (200, 201):
                self._base = base
                self._login_path = path
                self._headers[_SESSION_HEADER] = str(_unwrapped(answer))
                return self
            if status not in (404, 405):
                break
        self._connection.close()
        raise _Refused(f"its REST API answers {status} to the login")

    def __exit__(self, *_: object) -> None:
        try:
            self._request("DELETE", self._login_path, self._headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            _LOG.debug("logout at the REST API of %s: %s", self._session.server, error)
        finally:
            self._connection.close()

    def tags_of_vms(self) -> dict[Moref, tuple[Tag, ...]]:
        """Return the tags of every VM that has some: each tag's objects, then names as needed."""
        found: dict[Moref, list[str]] = {}
        for ids in _batches(self._call("GET", self._path("tag")) or (), _BATCH):
            for item in self._attached(ids):
                for object_id in item["object_ids"]:
                    if object_id["type"] == "VirtualMachine":
                        found.setdefault(Moref(object_id["id"]), []).append(item["tag_id"])
        names = dict(self._names({tag_id for ids in found.values() for tag_id in ids}))
        return {
            vm: tuple(sorted((names[id_] for id_ in ids), key=lambda tag: (tag.category, tag.name)))
            for vm, ids in found.items()
        }

    def _names(self, tag_ids: Iterable[str]) -> Iterator[tuple[str, Tag]]:
        categories: dict[str, str] = {}
        for tag_id in tag_ids:
            tag = self._call("GET", self._path("tag", tag_id))
            category = tag["category_id"]
            if category not in categories:
                categories[category] = self._call("GET", self._path("category", category))["name"]
            yield tag_id, Tag(category=categories[category], name=tag["name"])

    def _attached(self, tag_ids: Sequence[str]) -> list[Mapping[str, Any]]:
        action = "list-attached-objects-on-tags"
        query = f"?action={action}" if self._base == "/api" else f"?~action={action}"
        answer = self._call("POST", self._path("tag-association") + query, {"tag_ids": tag_ids})
        return list(answer or ())

    def _path(self, collection: str, id_: str = "") -> str:
        start = "/api/cis/tagging" if self._base == "/api" else "/rest/com/vmware/cis/tagging"
        if not id_:
            return f"{start}/{collection}"
        prefix = "" if self._base == "/api" else "id:"
        return f"{start}/{collection}/{prefix}{quote(id_, safe='')}"

    def _call(self, method: str, path: str, body: object = None) -> Any:
        status, answer = self._request(method, path, self._headers, body)
        if status != http.HTTPStatus.OK:
            raise _Refused(f"its REST API answers {status} to {method} {path}")
        return _unwrapped(answer)

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: object = None
    ) -> tuple[int, Any]:
        payload = None if body is None else json.dumps(body)
        self._connection.request(method, path, payload, dict(headers))
        answer = self._connection.getresponse()
        content = answer.read()
        is_json = "json" in (answer.getheader("Content-Type") or "")
        return answer.status, json.loads(content) if content and is_json else None


def _unwrapped(answer: Any) -> Any:
    """Return what `/rest` wraps in `{"value": …}` and `/api` does not."""
    if isinstance(answer, dict) and set(answer) == {"value"}:
        return answer["value"]
    return answer


def _batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
