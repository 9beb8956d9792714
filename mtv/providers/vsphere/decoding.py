"""Answers of the vSphere API into pyvmomi's objects, at a fraction of pyvmomi's own cost.

An inventory has hundreds of XML elements per VM. For each of them pyvmomi looks up the type anew,
makes an object by walking its whole class, and checks every field that the server set. Here types
are looked up once, objects are made from a pattern, and fields are taken as they come. What is rare
(faults, names of types and methods, the outermost element) goes to pyvmomi's own handlers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum, auto
from typing import Any

from pyVmomi import Iso8601, SoapAdapter, VmomiSupport, vmodl

_XSI_TYPE = SoapAdapter.XSI_TYPE
_PropertyPath = VmomiSupport.PropertyPath


class _Category(Enum):
    LEAF = auto()
    DATA = auto()
    LIST = auto()
    REFERENCE = auto()
    ODD = auto()  # pyvmomi has rules of its own for it


class _Shape:
    """How objects of one class are made and filled."""

    __slots__ = ("_fields", "_lists", "_plain", "kind")

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        values = kind().__dict__
        self._lists = [(name, type(value)) for name, value in values.items() if value == []]
        self._plain = {name: value for name, value in values.items() if value != []}
        self._fields: dict[str, tuple[str, Any, Any]] = {}

    def make(self) -> Any:
        """Return a new object, as the class itself would make it."""
        made = object.__new__(self.kind)
        values = made.__dict__
        values.update(self._plain)
        for name, kind in self._lists:
            values[name] = kind()
        return made

    def field(self, tag: str) -> tuple[str, Any, Any]:
        """Return the field's name in Python, its type, and its items' type if it is a list."""
        found = self._fields.get(tag)
        if found is None:
            described = self.kind._GetPropertyInfo(tag[tag.find(" ") + 1 :])
            item = described.type.Item if issubclass(described.type, list) else None
            found = self._fields[tag] = (described.name, described.type, item)
        return found


# What was found out about classes. Threads may find out the same twice, which harms nobody.
_shapes: dict[Any, _Shape | None] = {}
_categories: dict[Any, _Category] = {}
_readers: dict[Any, Callable[[str], Any] | None] = {}
_compatible: dict[tuple[Any, str], Any] = {}


def _shape(kind: Any) -> _Shape | None:
    """Return the shape of a class of data objects; None for all others."""
    try:
        return _shapes[kind]
    except KeyError:
        found = _Shape(kind) if _category(kind) is _Category.DATA else None
        _shapes[kind] = found
        return found


def _category(kind: Any) -> _Category:
    try:
        return _categories[kind]
    except KeyError:
        found = _categories[kind] = _categorized(kind)
        return found


def _categorized(kind: Any) -> _Category:
    if kind is type or kind is object or issubclass(kind, VmomiSupport.ManagedMethod):
        return _Category.ODD
    if issubclass(kind, Exception | vmodl.LocalizedMethodFault):
        return _Category.ODD
    if issubclass(kind, VmomiSupport.ManagedObject):
        return _Category.REFERENCE
    if issubclass(kind, VmomiSupport.DataObject):
        return _Category.DATA
    return _Category.LIST if issubclass(kind, list) else _Category.LEAF


def _reader(kind: Any) -> Callable[[str], Any] | None:
    """Return what turns text into a value of this class; None if that is pyvmomi's business."""
    try:
        return _readers[kind]
    except KeyError:
        found = _readers[kind] = _reader_of(kind)
        return found


def _reader_of(kind: Any) -> Callable[[str], Any] | None:
    if kind is str:
        return str
    if kind is bool:
        return _truth
    if kind is datetime:
        return _moment
    if issubclass(kind, VmomiSupport.Enum):
        # A newer server may know values that this pyvmomi does not.
        return lambda text: getattr(kind, text, None) or kind(text)
    if issubclass(kind, int | float | str):
        return lambda text: kind(text)
    return None


def _truth(text: str) -> bool:
    return text in ("true", "1") or text.lower() == "true"


def _moment(text: str) -> datetime:
    parsed = Iso8601.ParseISO8601(text)
    if not isinstance(parsed, datetime):
        raise TypeError(f"{text!r} is not a time")
    return parsed


class _Deserializer(SoapAdapter.SoapDeserializer):
    """pyvmomi's handlers of XML elements, made quick for what is frequent."""

    stack: list[Any]

    def __init__(self, stub: Any) -> None:
        super().__init__(stub)
        self._named: dict[str, Any] = {}  # `xsi:type` -> class, while prefixes mean the same

    def StartNamespaceDeclHandler(self, prefix: str, uri: str) -> None:
        """Note what a prefix means from here on."""
        self._named.clear()
        super().StartNamespaceDeclHandler(prefix, uri)

    def EndNamespaceDeclHandler(self, prefix: str) -> None:
        """Note that a prefix means again what it meant before."""
        self._named.clear()
        super().EndNamespaceDeclHandler(prefix)

    def StartElementHandler(self, tag: str, attr: dict[str, str]) -> None:
        """Put what the element will become onto the stack."""
        kind: Any = self._type_of(tag, attr) if self.stack else None
        category = _Category.ODD if kind is None else _category(kind)
        if category is _Category.ODD or "serverGuid" in attr:
            super().StartElementHandler(tag, attr)
            return
        self.data = ""
        self.serverGuid = None
        if category is _Category.LEAF:
            self.stack.append(kind)
        elif category is _Category.DATA:
            shape = _shape(kind)
            assert shape is not None
            self.stack.append(shape.make())
        elif category is _Category.LIST:
            self.stack.append(kind())
        else:
            namespace, name = self.GetNSAndWsdlname(attr["type"])
            self.stack.append(self.LookupWsdlType(namespace, name))

    def _type_of(self, tag: str, attr: dict[str, str]) -> Any:
        """Return what an element inside another is; None where it is not for us to say."""
        top: Any = self.stack[-1].__class__
        shape = _shape(top)
        if shape is not None:
            _, kind, item = shape.field(tag)
        elif issubclass(top, list):
            kind, item = top.Item, None
        else:
            return None
        named = attr.get(_XSI_TYPE) if attr else None
        if named is None:
            kind = item or kind
        elif kind is not _PropertyPath:
            if kind is type or kind is VmomiSupport.ManagedMethod:
                return None
            dynamic = self._named.get(named)
            if dynamic is None:
                namespace, name = self.GetNSAndWsdlname(named)
                dynamic = self._named[named] = self.LookupWsdlType(namespace, name, True)
            if not (item and issubclass(dynamic, list)):
                kind = dynamic
        if self.version:
            key = kind, self.version
            found = _compatible.get(key)
            if found is None:
                found = _compatible[key] = VmomiSupport.GetCompatibleType(kind, self.version)
            kind = found
        return kind

    def EndElementHandler(self, tag: str) -> None:
        """Finish what is on top of the stack, and put it into what is below."""
        stack = self.stack
        if len(stack) < 2:
            super().EndElementHandler(tag)
            return
        value: Any = stack[-1]
        below: Any = stack[-2]
        if isinstance(value, type):
            if _category(value) is _Category.REFERENCE:
                value = value(self.data, self.stub, self.serverGuid)
            else:
                read = _reader(value)
                if read is None:
                    super().EndElementHandler(tag)
                    return
                value = read(self.data)
        elif _category(value.__class__) is _Category.ODD:
            super().EndElementHandler(tag)
            return
        shape = _shape(below.__class__)
        if shape is not None:
            name, _, item = shape.field(tag)
            if item is not None and not isinstance(value, list):
                below.__dict__[name].append(value)
            else:
                below.__dict__[name] = value
        elif isinstance(below, list):
            below.append(value)
        else:
            super().EndElementHandler(tag)
            return
        stack.pop()


class ResponseDeserializer(SoapAdapter.SoapResponseDeserializer):
    """pyvmomi's decoder of answers, with our handlers inside."""

    def __init__(self, stub: Any) -> None:
        super().__init__(stub)
        self.deser = _Deserializer(stub)


def install() -> None:
    """Make pyvmomi use it. There is no hook for that: the adapter names the class it uses."""
    SoapAdapter.SoapResponseDeserializer = ResponseDeserializer  # type: ignore[misc]
