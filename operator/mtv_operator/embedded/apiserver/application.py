"""The way of a request: who asks, what for, may they, and then the verb."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from mtv import errors
from mtv_operator.embedded.apiserver import (
    authentication,
    authorization,
    documents_served,
    reading,
    status,
    verbs,
)
from mtv_operator.embedded.apiserver.authorization import Question
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.exchange import ANONYMOUS, Exchange, Message, User
from mtv_operator.embedded.apiserver.registry import Served
from mtv_operator.embedded.apiserver.requests import Target, parse_path

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})
_COLLECTION = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_OBJECT = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}

Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class Application:
    """The ASGI application."""

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self._documents = documents_served.Documents(deps)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(scope, receive, send)
        try:
            await self.respond(exchange)
        except errors.BadInput as error:
            await exchange.refuse(status.bad_request(str(error)))
        except status.Refusal as refusal:
            if exchange.started:
                raise
            await exchange.refuse(refusal)

    async def respond(self, exchange: Exchange) -> None:
        """Find out who asks for what, and do it. Raises Refusal."""
        path = exchange.path
        if path.partition("/")[2].partition("/")[0] in ("healthz", "livez", "readyz"):
            await exchange.answer(200, b"ok", b"text/plain; charset=utf-8")
            return
        user = self.authenticate(exchange)
        if user is None:
            if path != "/version":
                raise status.unauthorized()
            user = ANONYMOUS
        exchange.user = user
        target = parse_path(path)
        if target is None:
            self._authorize_path(exchange)
            await self._documents.answer(exchange)
            return
        verb = verb_of(exchange, target)
        self.authorize(exchange, verb, target)
        served = self.deps.registry.find(target.group, target.version, target.plural)
        if served is None:
            raise status.no_such_path()
        await self._serve(exchange, verb, served, target)

    def authenticate(self, exchange: Exchange) -> User | None:
        """Return who asks, None when nobody known does. Raises Refusal for a bad token."""
        known: User | None = exchange.scope.get("mtv.certificate_user")
        if known is not None:
            return known
        header = exchange.header(b"authorization")
        if not header:
            return None
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer":
            raise status.unauthorized()
        claims = self.deps.tokens.claims(token.strip())
        user = claims and authentication.service_account(claims, self.deps.store, self.deps.clock())
        if not user:
            raise status.unauthorized()
        return user

    def authorize(self, exchange: Exchange, verb: str, target: Target) -> None:
        """Raise Refusal (403) when the user may not do this."""
        user = exchange.user
        if authorization.MASTERS in user.groups:
            return
        question = Question(
            verb=verb,
            group=target.group,
            plural=target.plural,
            subresource=target.subresource,
            namespace=target.namespace,
            name=target.name,
        )
        if not self.deps.rules.allow(user, question):
            text = authorization.denial(user, question)
            raise status.forbidden(target.group, target.plural, target.name, text)

    def _authorize_path(self, exchange: Exchange) -> None:
        user = exchange.user
        if exchange.path in OPEN_PATHS or authorization.MASTERS in user.groups:
            return
        question = Question(verb=exchange.method.lower(), path=exchange.path)
        if not self.deps.rules.allow(user, question):
            raise status.forbidden_path(authorization.denial(user, question))

    async def _serve(self, exchange: Exchange, verb: str, served: Served, target: Target) -> None:
        deps, info = self.deps, served.info
        target = placed(served, target, verb)
        if target.subresource and target.subresource not in info.subresources:
            raise status.no_such_path()
        match verb:
            case "get" if target.subresource == "scale":
                await verbs.read_scale(deps, exchange, served, target)
            case "get":
                await reading.get(exchange, deps.store, served, target)
            case "list":
                await reading.list_(exchange, deps.store, deps.lists, served, target.namespace)
            case "watch":
                await reading.watch(exchange, deps.store, served, target.namespace, deps.watches)
            case "create":
                await verbs.create(deps, exchange, served, target)
            case "update":
                await verbs.replace(deps, exchange, served, target)
            case "patch":
                await verbs.patch(deps, exchange, served, target)
            case "delete":
                await verbs.delete(deps, exchange, served, target)
            case _:
                await verbs.delete_collection(deps, exchange, served, target)


def verb_of(exchange: Exchange, target: Target) -> str:
    """Return Kubernetes' word for what is to be done. Raises Refusal (405)."""
    table = _OBJECT if target.name else _COLLECTION
    verb = table.get(exchange.method)
    if exchange.method == "HEAD":
        verb = "get" if target.name else "list"
    if verb is None:
        raise status.method_not_allowed(target.group, target.plural, exchange.method)
    if verb == "list" and exchange.query.flag("watch"):
        return "watch"
    return verb


def placed(served: Served, target: Target, verb: str) -> Target:
    """Return the target with the namespace under which it is stored. Raises Refusal."""
    if not served.info.namespaced:
        if target.namespace and target.plural != "namespaces":
            raise status.no_such_path()
        return Target(
            target.group, target.version, "", target.plural, target.name, target.subresource
        )
    if not target.namespace and (target.name or verb in ("create", "deletecollection")):
        raise status.no_such_path()
    return target
