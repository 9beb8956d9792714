"""Label and field selectors of lists and watches. Pure.

A selector is parsed once per request into a test; `parse_labels` knows the set-based and the
equality-based form (`labels.Parse` of apimachinery), `parse_fields` any dotted path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mtv import errors
from mtv_operator.embedded.apiserver import names

LabelTest = Callable[[Mapping[str, str]], bool]
FieldTest = Callable[[dict[str, Any]], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|!|,|\(|\)|<|>|[^\s=!,()<>]+)")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_EQUAL = ("=", "==")
_ESCAPES = {"\\\\": "\\", "\\,": ",", "\\=": "="}
_FIELD_TERM = re.compile(r"((?:[^\\=!,]|\\.)+)(==|!=|=)((?:[^\\,]|\\.)*)", re.DOTALL)


def _everything(_: object) -> bool:
    return True


def parse_labels(text: str) -> LabelTest:
    """Return the test of a label selector, `app=web,tier in (a,b),!old`.

    Raises BadInput, which names the selector and what is wrong with it.
    """
    if not text.strip():
        return _everything
    return _Labels(text).parse()


class _Labels:
    """A parser by recursive descent over the tokens of one selector."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._split(text))
        self.at = 0

    def _split(self, text: str) -> Iterator[str]:
        end = 0
        for match in _TOKEN.finditer(text):
            end = match.end()
            yield match.group(1)
        if text[end:].strip():
            raise self.bad(f"found '{text[end:]}'")

    def bad(self, problem: str) -> errors.BadInput:
        return errors.BadInput(
            f'unable to parse requirement: {problem} (selector "{self.text}")',
            field="labelSelector",
        )

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def parse(self) -> LabelTest:
        tests = [self.requirement()]
        while self.peek():
            if self.take() != ",":
                found = self.tokens[self.at - 1]
                raise self.bad(f"found '{found}', expected: ',' or 'end of string'")
            tests.append(self.requirement())
        if len(tests) == 1:
            return tests[0]
        return lambda labels: all(test(labels) for test in tests)

    def requirement(self) -> LabelTest:
        if self.peek() == "!":
            self.take()
            key = self.key()
            return lambda labels: key not in labels
        key = self.key()
        operator = self.peek()
        if operator in ("", ","):
            return lambda labels: key in labels
        self.take()
        if operator in _EQUAL:
            value = self.value()
            return lambda labels: labels.get(key) == value
        if operator == "!=":
            value = self.value()
            return lambda labels: labels.get(key) != value
        if operator in ("in", "notin"):
            values = self.values()
            if operator == "in":
                return lambda labels: labels.get(key) in values
            return lambda labels: labels.get(key) not in values
        if operator in ("<", ">"):
            return self.comparison(key, operator)
        raise self.bad(
            f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt"  # apimachinery's list
        )

    def key(self) -> str:
        key = self.take()
        if not key or key in "=!,()<>" or key in ("==", "!="):
            raise self.bad(f"found '{key}', expected: !, identifier, or 'end of string'")
        for rule in names.qualified_name(key):
            raise self.bad(f'key: Invalid value: "{key}": {rule}')
        return key

    def value(self) -> str:
        if self.peek() in ("", ","):
            return ""
        value = self.take()
        if value in "=!()<>" or value in ("==", "!="):
            raise self.bad(f"found '{value}', expected: identifier")
        if len(value) > 63 or not _LABEL_VALUE.fullmatch(value):
            raise self.bad(f'values[0]: Invalid value: "{value}": {names.LABEL_VALUE_RULE}')
        return value

    def values(self) -> frozenset[str]:
        token = self.take()
        if token != "(":
            raise self.bad(f"found '{token}', expected: '('")
        found = set()
        while True:
            if self.peek() == ")":
                found.add("")
            else:
                found.add(self.value())
            token = self.take()
            if token == ")":
                return frozenset(found)
            if token != ",":
                raise self.bad(f"found '{token}', expected: ',' or ')'")

    def comparison(self, key: str, operator: str) -> LabelTest:
        value = self.take()
        if not re.fullmatch(r"-?\d{1,19}", value):
            raise self.bad(
                f"values[0]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must"
                " be an integer"
            )
        limit = int(value)

        def holds(labels: Mapping[str, str]) -> bool:
            have = labels.get(key, "")
            if not re.fullmatch(r"-?\d{1,19}", have):
                return False
            return int(have) > limit if operator == ">" else int(have) < limit

        return holds


def parse_fields(text: str) -> FieldTest:
    """Return the test of a field selector, `metadata.name=a,status.phase!=Running`.

    A field that is not there reads as "", and as "false" where that is asked for.
    Raises BadInput, which names the selector.
    """
    if not text.strip():
        return _everything
    tests = [_field_test(term, text) for term in _terms(text) if term]
    if len(tests) == 1:
        return tests[0]
    return lambda document: all(test(document) for test in tests)


def _terms(text: str) -> list[str]:
    terms, start, skip = [], 0, False
    for index, letter in enumerate(text):
        if skip:
            skip = False
        elif letter == "\\":
            skip = True
        elif letter == ",":
            terms.append(text[start:index])
            start = index + 1
    return [*terms, text[start:]]


def _field_test(term: str, text: str) -> FieldTest:
    match = _FIELD_TERM.fullmatch(term)
    if match is None:
        raise errors.BadInput(
            f"invalid selector: '{text}'; can't understand '{term}'", field="fieldSelector"
        )
    path, operator, raw = match.groups()
    value = _unescaped(raw, text)
    get = _getter(tuple(path.strip().split(".")))
    if operator == "!=":
        return lambda document: not _reads_as(get(document), value)
    return lambda document: _reads_as(get(document), value)


def _unescaped(raw: str, text: str) -> str:
    def replaced(match: re.Match[str]) -> str:
        if match.group() not in _ESCAPES:
            raise errors.BadInput(
                f"invalid selector: '{text}'; invalid escape sequence '{match.group()}'",
                field="fieldSelector",
            )
        return _ESCAPES[match.group()]

    return re.sub(r"\\.", replaced, raw, flags=re.DOTALL)


def _getter(path: tuple[str, ...]) -> Callable[[dict[str, Any]], Any]:
    if path == ("source",):  # events: `source` means its component
        path = ("source", "component")

    def get(document: dict[str, Any]) -> object:
        value: object = document
        for name in path:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return get


def _reads_as(value: object, wanted: str) -> bool:
    if value is None:
        return wanted in ("", "false")
    if isinstance(value, bool):
        return wanted == ("true" if value else "false")
    if isinstance(value, str):
        return value == wanted
    return isinstance(value, int | float) and str(value) == wanted
