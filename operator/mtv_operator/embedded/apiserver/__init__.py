"""The API server of the embedded home: stores objects, checks them, and tells who watches.

`storage` is the disk, `registry` what is served, `reading` and `writing` the verbs, `application`
the way of a request through authentication, authorization and dispatch, `server` the sockets.
Controllers reach it by HTTP only, as they reach Kubernetes.
"""
