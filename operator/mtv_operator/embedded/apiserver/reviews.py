"""Questions that are posted and answered, not stored: tokens, and who is or may what."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from mtv_operator.embedded.apiserver import (
    authentication,
    authorization,
    documents,
    metadata,
    names,
    status,
)
from mtv_operator.embedded.apiserver.admission import user_info
from mtv_operator.embedded.apiserver.authentication import AUDIENCE, ISSUER
from mtv_operator.embedded.apiserver.authorization import Question
from mtv_operator.embedded.apiserver.deps import Deps
from mtv_operator.embedded.apiserver.exchange import Exchange, User
from mtv_operator.embedded.apiserver.kinds import ResourceInfo
from mtv_operator.embedded.apiserver.requests import Target
from mtv_operator.embedded.apiserver.storage import Key

TOKEN_S = 3600
SHORTEST_TOKEN_S = 600
LONGEST_TOKEN_S = 1 << 32

Document = dict[str, Any]

ANSWERED = frozenset(
    {
        "TokenReview",
        "SelfSubjectReview",
        "SubjectAccessReview",
        "SelfSubjectAccessReview",
        "LocalSubjectAccessReview",
        "SelfSubjectRulesReview",
    }
)


async def answer(deps: Deps, exchange: Exchange, info: ResourceInfo, target: Target) -> None:
    """Answer one question."""
    document = documents.parse_object(await exchange.body(), exchange.header(b"content-type"), info)
    spec = document.get("spec") or {}
    if not isinstance(spec, dict):
        raise status.bad_request("spec: expected an object")
    match info.kind:
        case "TokenReview":
            document["status"] = _token(deps, spec)
        case "SelfSubjectReview":
            document["status"] = {"userInfo": user_info(exchange.user)}
        case "SelfSubjectAccessReview":
            document["status"] = _access(deps, exchange.user, spec, target)
        case "SelfSubjectRulesReview":
            rules = deps.rules.of(exchange.user, spec.get("namespace") or "")
            resources, paths = authorization.rules_as_documents(rules)
            if authorization.MASTERS in exchange.user.groups:
                every = ["*"]
                resources.append({"verbs": every, "apiGroups": every, "resources": every})
                paths.append({"verbs": every, "nonResourceURLs": every})
            document["status"] = {
                "resourceRules": resources,
                "nonResourceRules": paths,
                "incomplete": False,
            }
        case _:
            user = User(
                name=spec.get("user") or "",
                groups=tuple(spec.get("groups") or ()),
                uid=spec.get("uid") or "",
            )
            document["status"] = _access(deps, user, spec, target)
    document.setdefault("metadata", {}).setdefault("creationTimestamp", None)
    await exchange.answer_object(201, document)


def _token(deps: Deps, spec: Document) -> Document:
    audiences = spec.get("audiences") or [AUDIENCE]
    claims = deps.tokens.claims(str(spec.get("token") or ""))
    user = claims and authentication.service_account(claims, deps.store, deps.clock(), audiences)
    if not claims or not user:
        return {"authenticated": False, "error": "invalid bearer token"}
    return {
        "authenticated": True,
        "user": user_info(user),
        "audiences": [one for one in audiences if one in (claims.get("aud") or ())],
    }


def _access(deps: Deps, user: User, spec: Document, target: Target) -> Document:
    resource = spec.get("resourceAttributes")
    if resource:
        question = Question(
            verb=resource.get("verb") or "",
            group=resource.get("group") or "",
            plural=resource.get("resource") or "",
            subresource=resource.get("subresource") or "",
            namespace=target.namespace or resource.get("namespace") or "",
            name=resource.get("name") or "",
        )
    else:
        path = spec.get("nonResourceAttributes") or {}
        question = Question(verb=path.get("verb") or "", path=path.get("path") or "/")
    return {"allowed": deps.rules.allow(user, question)}


async def token(deps: Deps, exchange: Exchange, target: Target) -> None:
    """POST of a TokenRequest: a token for a service account."""
    media = documents.media_type(exchange.header(b"content-type"))
    content = await exchange.body()
    request = documents.parse(content, media) if content else {}
    if not isinstance(request, dict) or not isinstance(request.get("spec") or {}, dict):
        raise status.bad_request("the body is no TokenRequest")
    entry = deps.store.head(Key("serviceaccounts", target.namespace, target.name))
    if entry is None:
        raise status.not_found("", "serviceaccounts", target.name)
    spec = request.setdefault("spec", {})
    lives_s = spec.get("expirationSeconds") or TOKEN_S
    if not SHORTEST_TOKEN_S <= lives_s <= LONGEST_TOKEN_S:
        rule = f"may not specify a duration less than {SHORTEST_TOKEN_S} seconds"
        problem = names.invalid("spec.expirationSeconds", lives_s, rule)
        raise status.invalid("authentication.k8s.io", "TokenRequest", "", [problem])
    spec["audiences"] = spec.get("audiences") or [AUDIENCE]
    spec["expirationSeconds"] = lives_s
    now = deps.clock()
    private: Document = {
        "namespace": target.namespace,
        "serviceaccount": {"name": target.name, "uid": entry.meta.uid},
    }
    _bind(deps, spec.get("boundObjectRef"), target, private)
    expires = now + timedelta(seconds=lives_s)
    request["status"] = {
        "token": deps.tokens.sign(
            {
                "aud": spec["audiences"],
                "exp": int(expires.timestamp()),
                "iat": int(now.timestamp()),
                "nbf": int(now.timestamp()),
                "iss": ISSUER,
                "jti": str(uuid.uuid4()),
                "sub": f"system:serviceaccount:{target.namespace}:{target.name}",
                "kubernetes.io": private,
            }
        ),
        "expirationTimestamp": metadata.timestamp(expires),
    }
    request |= {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"}
    request.setdefault("metadata", {}).update(name=target.name, namespace=target.namespace)
    await exchange.answer_object(201, request)


def _bind(deps: Deps, reference: Document | None, target: Target, private: Document) -> None:
    """Write into the claims which pod the token dies with. Raises Refusal."""
    if not reference:
        return
    if reference.get("kind") != "Pod":
        raise status.bad_request(f"cannot bind a token to a {reference.get('kind')}")
    name = reference.get("name") or ""
    pod = deps.store.head(Key("pods", target.namespace, name))
    if pod is None:
        raise status.not_found("", "pods", name)
    spec = pod.document().get("spec") or {}
    if spec.get("serviceAccountName") != target.name:
        text = f'cannot bind token for serviceaccount "{target.name}" to pod running with different'
        raise status.bad_request(f"{text} serviceaccount name.")
    if reference.get("uid") and reference["uid"] != pod.meta.uid:
        raise status.conflict("", "pods", name, "the UID in the bound object reference is another")
    private["pod"] = {"name": name, "uid": pod.meta.uid}
