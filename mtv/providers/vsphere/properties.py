"""Properties of many managed objects in few calls, page by page.

Reading an attribute of a managed object in pyvmomi is a round trip each; nothing here does that.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from mtv import errors
from mtv.inventory.model import Moref
from mtv.providers.vsphere import faults

if TYPE_CHECKING:
    from mtv.providers.vsphere.session import Session

_LOG = logging.getLogger(__name__)
_COLLECTOR = vmodl.query.PropertyCollector

# One page is parsed and dropped before the next is asked for; bounds memory, not speed.
PAGE_SIZE = 100

Properties = dict[str, Any]
PathsOf = Mapping[type[Any], Sequence[str]]


@contextlib.contextmanager
def view_of(session: Session, kinds: Iterable[type[Any]]) -> Iterator[Any]:
    """Give a view of all objects of these kinds below the root folder."""
    manager = session.content.viewManager
    if manager is None:
        raise errors.SourceRefused(f"{session.server} offers no views of its inventory")
    view = manager.CreateContainerView(session.content.rootFolder, list(kinds), True)
    try:
        yield view
    finally:
        with contextlib.suppress(errors.MigrationError):  # it ends with the session at the latest
            view.DestroyView()


def view_filter(view: object, paths: PathsOf) -> Any:
    """Return the filter that gives the paths of each object in a view."""
    traversal = _COLLECTOR.TraversalSpec(
        name="view", type=vim.view.ContainerView, path="view", skip=False
    )
    return _COLLECTOR.FilterSpec(
        objectSet=[_COLLECTOR.ObjectSpec(obj=view, skip=True, selectSet=[traversal])],
        propSet=_property_specs(paths),
    )


def _property_specs(paths: PathsOf) -> list[Any]:
    return [
        _COLLECTOR.PropertySpec(type=kind, all=False, pathSet=list(names))
        for kind, names in paths.items()
    ]


def pages(
    session: Session, specification: Any, page_size: int = PAGE_SIZE
) -> Iterator[list[tuple[Any, Properties]]]:
    """Give (object, properties) in pages. Unset properties and those not allowed are left out.

    Raises Gone when the session ended in between: the view and the rest of the pages ended with it.
    """
    collector = session.content.propertyCollector
    options = _COLLECTOR.RetrieveOptions(maxObjects=page_size)
    result = collector.RetrievePropertiesEx([specification], options)
    while result is not None:
        yield [(content.obj, of_content(content)) for content in result.objects]
        if not result.token:
            return
        result = collector.ContinueRetrievePropertiesEx(result.token)


def of_content(content: Any) -> Properties:
    """Return the properties of one ObjectContent."""
    for missing in content.missingSet or ():
        fault = missing.fault
        if isinstance(fault, vim.fault.NotAuthenticated):
            raise faults.NotAuthenticated("the vSphere session has ended")
        _LOG.debug("%s of %s cannot be read: %s", missing.path, content.obj, fault)
    return {item.name: item.val for item in content.propSet if item.val is not None}


def of_objects(
    session: Session, objects: Sequence[object], paths: PathsOf
) -> dict[Moref, Properties]:
    """Return the properties of named objects; objects that are gone raise Gone."""
    specification = _COLLECTOR.FilterSpec(
        objectSet=[_COLLECTOR.ObjectSpec(obj=item, skip=False) for item in objects],
        propSet=_property_specs(paths),
    )
    return {
        Moref(managed._moId): values
        for page in pages(session, specification)
        for managed, values in page
    }
