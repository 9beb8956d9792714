"""The source as frozen, source-neutral data.

An inventory type is neither an API type nor a pyvmomi type; each crossing is one translation
module (`mtv.providers.*` into these, `mtv.planning` out of these).
"""
