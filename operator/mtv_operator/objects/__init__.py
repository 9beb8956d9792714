"""The border to the API server: the only importer of the kubernetes library.

It speaks in the types of `mtv.api` and the errors of `mtv.errors`. kubeconfig, credentials and the
connection pool are the library's; objects are decoded by msgspec.
"""

from mtv_operator.objects.caches import Cache, Caches
from mtv_operator.objects.client import Client
from mtv_operator.objects.keys import Key, key_of
from mtv_operator.objects.leadership import leading

__all__ = ["Cache", "Caches", "Client", "Key", "key_of", "leading"]
