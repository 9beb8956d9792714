"""The Providers, and the inventory of each: followed as the objects come and go."""

from __future__ import annotations

import threading
import time

from mtv import errors
from mtv.api import core, forklift
from mtv_operator.migration import access, provider
from mtv_operator.migration.inventory_cache import Inventories, View
from mtv_operator.objects import Caches, Client, Key, key_of


class Sources:
    """What is asked about. `client` reads what the cluster itself offers."""

    def __init__(self, client: Client, caches: Caches, inventories: Inventories) -> None:
        self.client = client
        self._inventories = inventories
        self._changed = threading.Condition()
        self._providers = caches.watch(forklift.Provider)
        self._secrets = caches.watch(core.Secret)
        self._providers.on_change(lambda key, one: self._follow(key, one))
        self._secrets.on_change(lambda key, _: self._secret_changed(key))

    def providers(self, namespace: str = "") -> list[forklift.Provider]:
        """Return the Providers of a namespace, or all, by name."""
        found = self._providers.list(namespace)
        return sorted(found, key=lambda one: (one.metadata.namespace, one.metadata.name))

    def by_uid(self, uid: str) -> forklift.Provider | None:
        """Return one Provider."""
        return next((one for one in self._providers.list() if one.metadata.uid == uid), None)

    def view(self, one: forklift.Provider) -> View:
        """Return what is known of the source of a Provider, as it is now."""
        return self._inventories.view(provider.key_of(*key_of(one)))

    def synced(self, one: forklift.Provider, timeout_s: float) -> View | None:
        """Return what is known of a source as soon as that is all; None if it takes too long."""
        until = time.monotonic() + timeout_s
        with self._changed:
            while (view := self.view(one)).inventory is None:
                left_s = until - time.monotonic()
                if left_s <= 0:
                    return None
                self._changed.wait(left_s)
        return view

    def inventory_changed(self, _key: str) -> None:
        """Wake who waits for an inventory."""
        with self._changed:
            self._changed.notify_all()

    def _secret_changed(self, key: Key) -> None:
        for one in self._providers.list():
            where = one.spec.secret.namespace or one.metadata.namespace
            if (where, one.spec.secret.name) == key:
                self._follow(key_of(one), one)

    def _follow(self, key: Key, one: forklift.Provider | None) -> None:
        """Have the source of a Provider followed, as far as it can be."""
        name = provider.key_of(*key)
        if one is None or one.spec.type not in provider.FOLLOWED:
            self._inventories.forget(name)
            return
        where = one.spec.secret.namespace or one.metadata.namespace
        secret = self._secrets.get(where, one.spec.secret.name)
        try:
            wanted = access.of_any(one, secret)
        except errors.BadInput:  # the Provider's own conditions say so
            wanted = None
        if wanted is None:
            self._inventories.forget(name)
        else:
            self._inventories.watch(name, wanted)
