"""The part of Go's text/template that Forklift's name templates use, with its Sprig functions.

    {{trunc 15 .PlanName}}-{{if eq .DiskIndex 0}}root{{else}}data-{{.DiskIndex | add1}}{{end}}

Text, comments, trim markers (`{{-`, `-}}`), fields, strings, integers, booleans, parentheses,
pipes, variables (`$x := …`), `if / else if / else / end`, the comparison functions of Go and
those that Forklift's `pkg/templateutil/README.md` lists. No loops, no methods, no named templates:
a name needs none, and so each template ends in time proportional to its length.

Errors are `BadInput` that name the field of the template and quote what was not understood.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from mtv.errors import BadInput

Value = str | int | float | bool | None

MAX_TEMPLATE = 2048  # characters; also bounds how deeply {{if}} can be nested
MAX_OUTPUT = 4096  # characters; a name has at most 253
MAX_REGEX_SUBJECT = 256

_ACTION = re.compile(r"\{\{(-(?=\s))?(.*?)((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:\\.|[^"\\\n])*")
    | (?P<raw>`[^`]*`)
    | (?P<number>[+-]?\d+(?:\.\d+)?)
    | (?P<field>\.[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    | (?P<variable>\$[A-Za-z_]\w*)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<mark>:=|=|\||\(|\))
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "'": "'"}


class TemplateError(Exception):
    """What is wrong inside a template; `render` puts the field's name before it."""


# --- the tree -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Literal:
    value: Value


@dataclass(frozen=True, slots=True)
class _Field:
    name: str


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str


@dataclass(frozen=True, slots=True)
class _Call:
    function: str
    arguments: tuple[_Expression, ...]


_Expression = _Literal | _Field | _Variable | _Call


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


@dataclass(frozen=True, slots=True)
class _Print:
    expression: _Expression
    assign_to: str = ""


@dataclass(frozen=True, slots=True)
class _If:
    branches: tuple[tuple[_Expression, tuple[_Node, ...]], ...]
    otherwise: tuple[_Node, ...]


_Node = _Text | _Print | _If


# --- rendering ----------------------------------------------------------------------------------


def render(template: str, variables: Mapping[str, Value], *, field: str = "template") -> str:
    """Return `template` filled in with `variables` (without their leading dot).

    Raises BadInput, whose `field` names the template, on syntax errors, unknown variables or
    functions, wrong arguments, and output above 4096 characters.
    """
    try:
        nodes = _parse(template)
        scope: dict[str, Value] = {}
        parts: list[str] = []
        size = 0
        for part in _evaluate(nodes, variables, scope):
            parts.append(part)
            size += len(part)
            if size > MAX_OUTPUT:
                _fail(f"makes more than {MAX_OUTPUT} characters")
        return "".join(parts)
    except TemplateError as fault:
        raise BadInput(
            f"template {template[:200]!r}: {fault}",
            field=field,
            hint="it may use " + ", ".join(f".{name}" for name in variables),
        ) from fault


def check(template: str, variables: Mapping[str, Value], *, field: str = "template") -> None:
    """Raise BadInput if `template` cannot be filled in; one way through it is tried."""
    render(template, variables, field=field)


def _fail(message: str) -> NoReturn:
    raise TemplateError(message)


def _evaluate(
    nodes: tuple[_Node, ...], variables: Mapping[str, Value], scope: dict[str, Value]
) -> Iterator[str]:
    for node in nodes:
        match node:
            case _Text(text):
                yield text
            case _Print(expression, ""):
                yield _text(_value(expression, variables, scope))
            case _Print(expression, name):
                scope[name] = _value(expression, variables, scope)
            case _If(branches, otherwise):
                chosen = otherwise
                for condition, body in branches:
                    if _value(condition, variables, scope):
                        chosen = body
                        break
                yield from _evaluate(chosen, variables, scope)


def _value(
    expression: _Expression, variables: Mapping[str, Value], scope: Mapping[str, Value]
) -> Value:
    match expression:
        case _Literal(value):
            return value
        case _Field(name):
            if name not in variables:
                _fail(f"there is no .{name} here")
            return variables[name]
        case _Variable(name):
            if name not in scope:
                _fail(f"variable ${name} is not set")
            return scope[name]
        case _Call("and" | "or" as function, arguments):
            return _short_circuit(function, arguments, variables, scope)
        case _Call(function, arguments):
            return _call(function, [_value(one, variables, scope) for one in arguments])


def _short_circuit(
    function: str,
    arguments: tuple[_Expression, ...],
    variables: Mapping[str, Value],
    scope: Mapping[str, Value],
) -> Value:
    value: Value = None
    for argument in arguments:
        value = _value(argument, variables, scope)
        if bool(value) is (function == "or"):
            return value
    return value


def _call(function: str, arguments: list[Value]) -> Value:
    known = FUNCTIONS.get(function)
    if known is None:
        _fail(f"there is no function {function!r}")
    try:
        result = known(*arguments)
    except (TypeError, ValueError, OverflowError) as fault:
        shown = " ".join(_quote(one) for one in arguments)
        raise TemplateError(f"{function} does not take ({shown})") from fault
    if isinstance(result, str) and len(result) > MAX_OUTPUT:
        _fail(f"{function} makes more than {MAX_OUTPUT} characters")
    return result


def _quote(value: Value) -> str:
    return f'"{value}"' if isinstance(value, str) else _text(value)


def _text(value: Value) -> str:
    """Print as Go's %v does."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


# --- parsing ------------------------------------------------------------------------------------


def _parse(template: str) -> tuple[_Node, ...]:
    if len(template) > MAX_TEMPLATE:
        _fail(f"it has more than {MAX_TEMPLATE} characters")
    items = list(_split(template))
    nodes, rest = _nodes(items, 0, inside_if=False)
    if rest != len(items):
        _fail("{{end}} or {{else}} without {{if}}")
    return nodes


def _split(template: str) -> Iterator[_Text | tuple[tuple[str, str], ...]]:
    """Yield text and the tokens of each action, with the trim markers applied."""
    position = 0
    trim = False
    for found in _ACTION.finditer(template):
        text = template[position : found.start()]
        text = text.lstrip() if trim else text
        text = text.rstrip() if found[1] else text
        position, trim = found.end(), bool(found[3])
        yield _Text(text)
        action = found[2].strip()
        if not (action.startswith("/*") and action.endswith("*/")):
            yield tuple(_tokens(action))
    rest = template[position:]
    if "{{" in rest:
        _fail("an action {{ is not closed by }}")
    yield _Text(rest.lstrip() if trim else rest)


def _tokens(action: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(action):
        found = _TOKEN.match(action, position)
        if found is None:
            _fail(f"cannot read {action[position:]!r}")
        position = found.end()
        kind = found.lastgroup or ""
        yield kind, found[kind]


_Items = list[_Text | tuple[tuple[str, str], ...]]


def _nodes(items: _Items, at: int, *, inside_if: bool) -> tuple[tuple[_Node, ...], int]:
    """Return the nodes up to the `else` or `end` that closes them, and its index."""
    nodes: list[_Node] = []
    while at < len(items):
        item = items[at]
        if isinstance(item, _Text):
            nodes.append(item)
            at += 1
            continue
        match item:
            case (("word", "if"), *condition):
                node, at = _if(items, at, tuple(condition))
                nodes.append(node)
            case (("word", "else" | "end"), *_):
                return tuple(nodes), at
            case (("word", "range" | "with" | "define" | "template" | "block" as word), *_):
                _fail(f"{word!r} is not supported")
            case ():
                _fail("an action is empty")
            case (("variable", name), ("mark", ":=" | "="), *expression):
                nodes.append(_Print(_pipeline(tuple(expression)), name[1:]))
                at += 1
            case _:
                nodes.append(_Print(_pipeline(item)))
                at += 1
    if inside_if:
        _fail("{{if}} is not closed by {{end}}")
    return tuple(nodes), at


def _if(items: _Items, at: int, condition: tuple[tuple[str, str], ...]) -> tuple[_If, int]:
    branches: list[tuple[_Expression, tuple[_Node, ...]]] = []
    while True:
        test = _pipeline(condition)
        body, at = _nodes(items, at + 1, inside_if=True)
        branches.append((test, body))
        match items[at]:
            case (("word", "else"), ("word", "if"), *following):
                condition = tuple(following)
            case (("word", "else"),):
                otherwise, at = _nodes(items, at + 1, inside_if=True)
                if items[at] != (("word", "end"),):
                    _fail("a second {{else}}")
                return _If(tuple(branches), otherwise), at + 1
            case (("word", "end"),):
                return _If(tuple(branches), ()), at + 1
            case other:
                _fail(f"cannot read {' '.join(text for _, text in _as_tokens(other))!r}")


def _as_tokens(item: _Text | tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return () if isinstance(item, _Text) else item


def _pipeline(tokens: tuple[tuple[str, str], ...]) -> _Expression:
    expression, rest = _commands(tokens, 0, depth=0)
    if rest != len(tokens):
        _fail("a parenthesis is closed that was not opened")
    return expression


def _commands(
    tokens: tuple[tuple[str, str], ...], at: int, *, depth: int
) -> tuple[_Expression, int]:
    """Parse `a b | c d`: the value of each command is the last argument of the next."""
    if depth > 32:
        _fail("parentheses are nested too deeply")
    piped: _Expression | None = None
    while True:
        command, at = _command(tokens, at, depth=depth, piped=piped)
        if at < len(tokens) and tokens[at] == ("mark", "|"):
            piped = command
            at += 1
            continue
        return command, at


def _command(
    tokens: tuple[tuple[str, str], ...], at: int, *, depth: int, piped: _Expression | None
) -> tuple[_Expression, int]:
    function = ""
    operands: list[_Expression] = []
    first = True
    while at < len(tokens) and tokens[at] not in {("mark", "|"), ("mark", ")")}:
        kind, text = tokens[at]
        if kind == "word" and first and text not in {"true", "false", "nil"}:
            function = text
            at += 1
        elif (kind, text) == ("mark", "("):
            inner, at = _commands(tokens, at + 1, depth=depth + 1)
            if at >= len(tokens):
                _fail("a parenthesis is not closed")
            operands.append(inner)
            at += 1
        else:
            operands.append(_operand(kind, text))
            at += 1
        first = False
    if piped is not None:
        operands.append(piped)
    if function:
        return _Call(function, tuple(operands)), at
    if piped is not None or len(operands) != 1:
        _fail("a value stands where a function is expected" if operands else "a value is missing")
    return operands[0], at


def _operand(kind: str, text: str) -> _Expression:
    match kind:
        case "string":
            return _Literal(re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1:-1]))
        case "raw":
            return _Literal(text[1:-1])
        case "number":
            return _Literal(float(text) if "." in text else int(text))
        case "field":
            return _Field(text[1:])
        case "variable":
            return _Variable(text[1:])
        case "word" if text in {"true", "false"}:
            return _Literal(text == "true")
        case "word" if text == "nil":
            return _Literal(None)
        case "word":
            return _Call(text, ())
        case _:
            _fail(f"{text!r} stands in the wrong place")


# --- functions, with Go's and Sprig's order of arguments ----------------------------------------


def _string(value: Value) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _integer(value: Value) -> int:
    """Sprig casts: numbers are truncated, strings of digits are read, anything else is 0."""
    match value:
        case bool() | int() | float():
            return int(value)
        case str() if re.fullmatch(r"[+-]?\d{1,18}", value):
            return int(value)
        case _:
            return 0


def _number(value: Value) -> float:
    try:
        return float(value) if value is not None else 0.0
    except ValueError:
        return 0.0


def _trunc(length: Value, text: Value) -> str:
    string, size = _string(text), _integer(length)
    return (
        string[size:]
        if size < 0 and len(string) + size > 0
        else (string if size < 0 else string[:size])
    )


def _substr(start: Value, end: Value, text: Value) -> str:
    string, first, last = _string(text), _integer(start), _integer(end)
    if first < 0:
        return string[: max(last, 0)]
    return string[first:] if last < 0 or last > len(string) else string[first:last]


def _repeat(count: Value, text: Value) -> str:
    times = _integer(count)
    if times * len(_string(text)) > MAX_OUTPUT:
        _fail(f"repeat makes more than {MAX_OUTPUT} characters")
    return _string(text) * times


def _words(change: Callable[[str], str]) -> Callable[[Value], str]:
    def words(text: Value) -> str:
        return re.sub(r"(?<![^\s_\W])[^\W\d_]", lambda m: change(m[0]), _string(text))

    return words


def _divide(dividend: Value, divisor: Value, remainder: bool) -> int:
    top, bottom = _integer(dividend), _integer(divisor)
    if bottom == 0:
        _fail("division by zero")
    quotient = abs(top) // abs(bottom) * (1 if (top < 0) == (bottom < 0) else -1)  # as Go does
    return top - quotient * bottom if remainder else quotient


def _round(value: Value, places: Value, half: Value = 0.5) -> float:
    scale = 10.0 ** _integer(places)
    whole = math.floor(_number(value) * scale)
    up = _number(value) * scale - whole >= _number(half)
    return (whole + up) / scale


def _equal(first: Value, *others: Value) -> bool:
    if not others:
        raise TypeError("eq needs two arguments")
    return any(_comparable(first, other) and first == other for other in others)


def _comparable(first: Value, second: Value) -> bool:
    def kind(value: Value) -> str:
        return (
            "number"
            if isinstance(value, int | float) and not isinstance(value, bool)
            else type(value).__name__
        )

    if kind(first) != kind(second):
        _fail(f"{_quote(first)} and {_quote(second)} cannot be compared: they differ in type")
    return True


def _order(test: Callable[[int], bool]) -> Callable[[Value, Value], bool]:
    def compare(first: Value, second: Value) -> bool:
        _comparable(first, second)
        if isinstance(first, str) and isinstance(second, str):
            return test((first > second) - (first < second))
        left, right = _number(first), _number(second)
        return test((left > right) - (left < right))

    return compare


def _regex_replace(pattern: Value, text: Value, replacement: Value) -> str:
    """Replace as Go's regexp does, `$1` and `${1}` standing for groups.

    Python's engine backtracks, Go's does not: a pattern with a repetition inside a repetition,
    or with more than three, is refused, so that no plan can keep the controller busy.
    """
    source, subject = _string(pattern), _string(text)
    if len(subject) > MAX_REGEX_SUBJECT:
        _fail(f"mustRegexReplaceAll works on at most {MAX_REGEX_SUBJECT} characters")
    _check_pattern(source)
    try:
        template = re.sub(r"\\", r"\\\\", _string(replacement))
        template = re.sub(r"\$\{?(\d+)\}?", r"\\g<\1>", template)
        return re.sub(source, template, subject)
    except (re.error, IndexError) as fault:
        raise TemplateError(f"regular expression {source!r}: {fault}") from fault


def _check_pattern(source: str) -> None:
    plain = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", source)
    if len(re.findall(r"[*+]|\{\d+,\d*\}", plain)) > 3:
        _fail(f"regular expression {source!r} has more than three repetitions")
    while "(" in plain:
        inner = re.search(r"\(([^()]*)\)([*+?]|\{\d*,?\d*\})?", plain)
        if inner is None:
            _fail(f"regular expression {source!r}: missing parenthesis")
        repeated = inner[2] is not None and inner[2] != "?"
        if repeated and re.search(r"[*+|]|\{\d+,\d*\}|\?", inner[1]):
            _fail(f"regular expression {source!r} repeats a group that repeats or chooses")
        plain = (
            plain[: inner.start()]
            + ("x*" if "*" in inner[1] or "+" in inner[1] else "x")
            + (plain[inner.end() :])
        )


def _printf(layout: Value, *values: Value) -> str:
    waiting = list(values)

    def one(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        if not waiting:
            _fail(f"printf {_quote(layout)} needs more values")
        value = waiting.pop(0)
        flags, verb = found[1], found[2]
        if len(flags) > 4:
            _fail(f"printf width {flags} is too large")
        if verb in "dxX":
            return f"%{flags}{verb}" % _integer(value)
        return f"%{flags}s" % (_text(value) if verb == "v" else _string(value))

    return re.sub(r"%%|%([-0]?\d*)([dsvxX])", one, _string(layout))


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    # Go
    "eq": _equal,
    "ne": lambda a, b: _comparable(a, b) and a != b,
    "lt": _order(lambda sign: sign < 0),
    "le": _order(lambda sign: sign <= 0),
    "gt": _order(lambda sign: sign > 0),
    "ge": _order(lambda sign: sign >= 0),
    "not": lambda value: not value,
    "len": lambda text: len(_string(text)),
    "print": lambda *values: "".join(_text(value) for value in values),
    "printf": _printf,
    # Sprig: strings
    "lower": lambda text: _string(text).lower(),
    "upper": lambda text: _string(text).upper(),
    "contains": lambda part, text: _string(part) in _string(text),
    "replace": lambda old, new, text: _string(text).replace(_string(old), _string(new)),
    "trim": lambda text: _string(text).strip(),
    "trimAll": lambda cutset, text: _string(text).strip(_string(cutset)),
    "trimSuffix": lambda suffix, text: _string(text).removesuffix(_string(suffix)),
    "trimPrefix": lambda prefix, text: _string(text).removeprefix(_string(prefix)),
    "title": _words(str.upper),
    "untitle": _words(str.lower),
    "repeat": _repeat,
    "substr": _substr,
    "nospace": lambda text: re.sub(r"\s", "", _string(text)),
    "trunc": _trunc,
    "initials": lambda text: "".join(word[0] for word in _string(text).split()),
    "hasPrefix": lambda prefix, text: _string(text).startswith(_string(prefix)),
    "hasSuffix": lambda suffix, text: _string(text).endswith(_string(suffix)),
    "mustRegexReplaceAll": _regex_replace,
    # Sprig: numbers
    "add": lambda *values: sum(_integer(value) for value in values),
    "add1": lambda value: _integer(value) + 1,
    "sub": lambda a, b: _integer(a) - _integer(b),
    "div": lambda a, b: _divide(a, b, remainder=False),
    "mod": lambda a, b: _divide(a, b, remainder=True),
    "mul": lambda first, *more: math.prod(_integer(value) for value in (first, *more)),
    "max": lambda first, *more: max(_integer(value) for value in (first, *more)),
    "min": lambda first, *more: min(_integer(value) for value in (first, *more)),
    "floor": lambda value: float(math.floor(_number(value))),
    "ceil": lambda value: float(math.ceil(_number(value))),
    "round": _round,
}
