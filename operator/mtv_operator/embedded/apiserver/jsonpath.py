"""JSONPath as Kubernetes uses it in printer columns and scale paths. Pure.

`.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`, `['a.b']`, `[0]`, `[-1]`,
`[0:2]`, `[*]`, `..name`, unions. No text templates: one path, with or without braces.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from mtv import errors

Value = Any
Step = Callable[[Value], Iterator[Value]]
Find = Callable[[Value], list[Value]]

_NAME = re.compile(r"(?:[^.\[\]\\ ]|\\.)+")
_SLICE = re.compile(r"\[\s*(-?\d+)?\s*(?:(:)\s*(-?\d+)?\s*(?::\s*(\d+)?\s*)?)?\]")
_QUOTED = re.compile(r"\[\s*((?:'[^']*'|\"[^\"]*\")(?:\s*,\s*(?:'[^']*'|\"[^\"]*\"))*)\s*\]")
_NUMBERS = re.compile(r"\[\s*(-?\d+(?:\s*,\s*-?\d+)+)\s*\]")
_FILTER = re.compile(
    r"\[\?\(\s*(?P<left>@[^=!<>]*?|'[^']*'|\"[^\"]*\")\s*"
    r"(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<right>'[^']*'|\"[^\"]*\"|@[^)\]]*|[^)\]'\"]+?)\s*)?\)\]"
)


@functools.lru_cache(maxsize=512)
def parse(path: str) -> Find:
    """Return the function that finds the values of a path. Raises BadInput."""
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    steps = _steps(text.removeprefix("$"), path)

    def find(document: Value) -> list[Value]:
        values = [document]
        for step in steps:
            values = [found for value in values for found in step(value)]
        return values

    return find


def first(path: str, document: Value) -> Value:
    """Return the first value of a path, None when there is none."""
    found = parse(path)(document)
    return found[0] if found else None


def _steps(text: str, path: str) -> list[Step]:
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if text.startswith("..", at):
            match = _NAME.match(text, at + 2)
            if match is None:
                raise _bad(path, "a name is missing after '..'")
            steps += [_descend, _member(_unescaped(match.group()))]
            at = match.end()
        elif text.startswith(".*", at):
            steps.append(_each)
            at += 2
        elif text[at] == ".":
            match = _NAME.match(text, at + 1)
            if match is not None:
                steps.append(_member(_unescaped(match.group())))
                at = match.end()
            elif at + 1 == len(text) or text[at + 1] == "[":
                at += 1
            else:
                raise _bad(path, f"{text[at:]!r} is no step")
        elif text[at] == "[":
            step, at = _bracket(text, at, path)
            steps.append(step)
        elif at == 0 and (match := _NAME.match(text)):
            steps.append(_member(_unescaped(match.group())))
            at = match.end()
        else:
            raise _bad(path, f"{text[at:]!r} is no step")
    return steps


def _bad(path: str, problem: str) -> errors.BadInput:
    return errors.BadInput(f"invalid JSONPath {path!r}: {problem}")


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


def _bracket(text: str, at: int, path: str) -> tuple[Step, int]:
    if text.startswith("[*]", at):
        return _each, at + 3
    if match := _QUOTED.match(text, at):
        names = [one[1:-1] for one in re.findall(r"'[^']*'|\"[^\"]*\"", match[1])]
        return _union([_member(name) for name in names]), match.end()
    if match := _NUMBERS.match(text, at):
        return _union([_index(int(one)) for one in match[1].split(",")]), match.end()
    if (match := _SLICE.match(text, at)) and (match[1] or match[2]):
        if not match[2]:
            return _index(int(match[1])), match.end()
        start, stop, stride = (int(one) if one else None for one in match.group(1, 3, 4))
        return _slice(slice(start, stop, stride or None)), match.end()
    if match := _FILTER.match(text, at):
        return _filter(match, path), match.end()
    raise _bad(path, f"{text[at:]!r} is no subscript")


def _member(name: str) -> Step:
    def step(value: Value) -> Iterator[Value]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _index(index: int) -> Step:
    def step(value: Value) -> Iterator[Value]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _slice(part: slice) -> Step:
    def step(value: Value) -> Iterator[Value]:
        if isinstance(value, list):
            yield from value[part]

    return step


def _union(steps: list[Step]) -> Step:
    def step(value: Value) -> Iterator[Value]:
        for one in steps:
            yield from one(value)

    return step


def _each(value: Value) -> Iterator[Value]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _descend(value: Value) -> Iterator[Value]:
    yield value
    for one in _each(value):
        yield from _descend(one)


def _filter(match: re.Match[str], path: str) -> Step:
    left = _operand(match["left"], path)
    if match["operator"] is None:

        def exists(value: Value) -> Iterator[Value]:
            yield from (one for one in _each(value) if left(one))

        return exists
    right = _operand(match["right"], path)
    holds = _COMPARISONS[match["operator"]]

    def step(value: Value) -> Iterator[Value]:
        for one in _each(value):
            have, wanted = left(one), right(one)
            if have and wanted and _comparable(have[0], wanted[0]) and holds(have[0], wanted[0]):
                yield one

    return step


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda have, wanted: bool(have == wanted),
    "!=": lambda have, wanted: bool(have != wanted),
    "<": lambda have, wanted: bool(have < wanted),
    ">": lambda have, wanted: bool(have > wanted),
    "<=": lambda have, wanted: bool(have <= wanted),
    ">=": lambda have, wanted: bool(have >= wanted),
}


def _comparable(have: Value, wanted: Value) -> bool:
    if isinstance(have, bool) or isinstance(wanted, bool):
        return isinstance(have, bool) and isinstance(wanted, bool)
    if isinstance(have, str):
        return isinstance(wanted, str)
    return isinstance(have, int | float) and isinstance(wanted, int | float)


def _operand(text: str, path: str) -> Find:
    text = text.strip()
    if text.startswith("@"):
        steps = text[1:]
        return parse(steps) if steps else lambda value: [value]
    if text[:1] in "'\"":
        quoted = text[1:-1]
        return lambda _: [quoted]
    literal = {"true": True, "false": False}.get(text)
    if literal is not None:
        return lambda _: [literal]
    try:
        number = float(text) if "." in text else int(text)
    except ValueError as error:
        raise _bad(path, f"{text!r} is neither a path nor a value") from error
    return lambda _: [number]
