"""What mtv is on a cluster: its objects, as data; and putting them there or taking them away.

The Helm chart and `operator/manifests/mtv.yaml` are written from here, `mtv install` applies the
same. Roles are shared with the embedded home.
"""
