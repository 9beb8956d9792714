"""The way of a request: who asks, what for, may they, and then the verb."""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Awaitable, Callable

from mtv import errors
from mtv_operator.embedded.apiserver import (
    aggregation,
    authentication,
    authorization,
    documents_served,
    pods,
    reading,
    reviews,
    status,
    tunnel,
    verbs,
)
from mtv_operator.embedded.apiserver.aggregation import Aggregator
from mtv_operator.embedded.apiserver.authorization import Question
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.exchange import ANONYMOUS, Exchange, Headers, Message, User
from mtv_operator.embedded.apiserver.registry import Served
from mtv_operator.embedded.apiserver.requests import Target, parse_path
from mtv_operator.embedded.apiserver.tunnel import Onward

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})
HEALTH = ("healthz", "livez", "readyz")
_VERBS = {
    "DELETE": "delete",
    "GET": "get",
    "HEAD": "get",
    "PATCH": "patch",
    "POST": "create",
    "PUT": "update",
}
_OF_COLLECTIONS = {"get": "list", "delete": "deletecollection"}

Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class Application:
    """The ASGI application."""

    def __init__(self, deps: Deps, aggregator: Aggregator) -> None:
        self.deps = deps
        self.aggregator = aggregator
        self._documents = documents_served.Documents(deps, aggregator)

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
        except RecursionError:
            if exchange.started:
                raise
            await exchange.refuse(status.bad_request("the document is nested too deeply"))

    async def respond(self, exchange: Exchange) -> None:
        """Find out who asks for what, and do it. Raises Refusal."""
        path = exchange.path
        if path.partition("/")[2].partition("/")[0] in HEALTH:
            await exchange.answer(200, b"ok", b"text/plain; charset=utf-8")
            return
        user = self.authenticate(
            exchange.scope.get("mtv.certificate_user"), exchange.header(b"authorization")
        )
        if user is None:
            if path != "/version":
                raise status.unauthorized()
            user = ANONYMOUS
        exchange.user = user = self._treated_as(user, exchange.scope["headers"])
        target = parse_path(path)
        if target is None:
            self._authorize_path(exchange)
            await self._answer_path(exchange)
            return
        verb = verb_of(exchange.method, target, watching=exchange.query.flag("watch"))
        self.authorize(user, verb, target)
        served = self.deps.registry.find(target.group, target.version, target.plural)
        if served is not None:
            await self._serve(exchange, verb, served, target)
        elif self.is_aggregated(target.group, target.version):
            await self.aggregator.forward(exchange, target.group, target.version)
        else:
            raise status.no_such_path()

    async def _answer_path(self, exchange: Exchange) -> None:
        parts = exchange.path.strip("/").split("/")
        if len(parts) == 3 and parts[0] == "apis" and self.is_aggregated(parts[1], parts[2]):
            await self.aggregator.forward(exchange, parts[1], parts[2])
        else:
            await self._documents.answer(exchange)

    def is_aggregated(self, group: str, version: str) -> bool:
        """Return whether another server answers for this group and version."""
        if self.deps.registry.has_group_version(group, version):
            return False
        return self.aggregator.serves(group, version)

    async def admit_upgrade(
        self, method: str, url: bytes, headers: Headers, certificate_user: User | None, client: str
    ) -> Onward:
        """Return where a websocket goes. Raises Refusal."""
        path = urllib.parse.unquote(url.partition(b"?")[0].decode("latin-1"))
        token, headers = tunnel.split_token(headers)
        bearer = dict(headers).get(b"authorization", b"").decode("latin-1")
        user = self.authenticate(certificate_user, f"Bearer {token}" if token else bearer)
        if user is None:
            raise status.unauthorized()
        user = self._treated_as(user, headers)
        target = parse_path(path)
        if target is None or not self.is_aggregated(target.group, target.version):
            raise status.no_such_path()
        self.authorize(user, verb_of(method, target, watching=False), target)
        endpoint = self.aggregator.endpoint(target.group, target.version)
        onward = aggregation.forwarded_headers(headers, user, endpoint, client)
        return Onward(endpoint=endpoint, head=tunnel.request_head(method, url, onward))

    def authenticate(self, certificate_user: User | None, header: str) -> User | None:
        """Return who asks, None when nobody known does. Raises Refusal for a bad token."""
        if certificate_user is not None:
            return certificate_user
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

    def _treated_as(self, user: User, headers: Headers) -> User:
        """Return the user as whom the request is treated. Raises Refusal when it may not be."""
        wanted = authentication.impersonated(headers)
        if wanted is None:
            return user
        account = wanted.name.startswith(authentication.ACCOUNT_PREFIX)
        namespace, _, name = wanted.name.removeprefix(authentication.ACCOUNT_PREFIX).partition(":")
        questions = [
            Question(verb="impersonate", plural="serviceaccounts", namespace=namespace, name=name)
            if account
            else Question(verb="impersonate", plural="users", name=wanted.name)
        ]
        if not account:
            questions += [
                Question(verb="impersonate", plural="groups", name=group)
                for group in wanted.groups
                if group not in ("system:authenticated", "system:unauthenticated")
            ]
        for question in questions:
            if not self.deps.rules.allow(user, question):
                text = authorization.denial(user, question)
                raise status.forbidden("", question.plural, question.name, text)
        return wanted

    def authorize(self, user: User, verb: str, target: Target) -> None:
        """Raise Refusal (403) when the user may not do this."""
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
        deps = self.deps
        target = placed(served, target, verb)
        if target.subresource:
            await self._serve_subresource(exchange, verb, served, target)
            return
        match verb:
            case "get":
                await reading.get(exchange, deps.store, served, target)
            case "list":
                await reading.list_(exchange, deps.store, deps.lists, served, target.namespace)
            case "watch":
                await reading.watch(exchange, deps.store, served, target.namespace, deps.watches)
            case "create" if served.info.kind in reviews.ANSWERED and not served.definition:
                await reviews.answer(deps, exchange, served.info, target)
            case "create":
                await verbs.create(deps, exchange, served, target)
            case "update" if target.name:
                await verbs.replace(deps, exchange, served, target)
            case "patch" if target.name:
                await verbs.patch(deps, exchange, served, target)
            case "delete":
                await verbs.delete(deps, exchange, served, target)
            case "deletecollection":
                await verbs.delete_collection(deps, exchange, served, target)
            case _:
                raise status.method_not_allowed(target.group, target.plural, verb)

    async def _serve_subresource(
        self, exchange: Exchange, verb: str, served: Served, target: Target
    ) -> None:
        deps = self.deps
        if target.subresource not in served.info.subresources or not target.name:
            raise status.no_such_path()
        match target.subresource, verb:
            case "scale", "get":
                await verbs.read_scale(deps, exchange, served, target)
            case "status" | "finalize", "get":
                await reading.get(exchange, deps.store, served, target)
            case "status" | "scale" | "finalize", "update":
                await verbs.replace(deps, exchange, served, target)
            case "status" | "scale", "patch":
                await verbs.patch(deps, exchange, served, target)
            case "binding", "create":
                await pods.bind(deps, exchange, served, target)
            case "eviction", "create":
                await pods.evict(deps, exchange, served, target)
            case "log", "get":
                await pods.log(deps, exchange, served, target)
            case "token", "create":
                await reviews.token(deps, exchange, target)
            case _:
                plural = f"{target.plural}/{target.subresource}"
                raise status.method_not_allowed(target.group, plural, verb)


def verb_of(method: str, target: Target, *, watching: bool) -> str:
    """Return Kubernetes' word for what is to be done. Raises Refusal (405)."""
    verb = _VERBS.get(method)
    if verb is None:
        raise status.method_not_allowed(target.group, target.plural, method)
    if target.name or verb not in _OF_COLLECTIONS:
        return verb
    if verb == "get" and watching:
        return "watch"
    return _OF_COLLECTIONS[verb]


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
