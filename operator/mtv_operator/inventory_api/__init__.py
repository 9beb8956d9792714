"""Forklift's inventory API: what each Provider offers, as JSON over HTTPS, read-only.

kubectl-mtv and consoles read it. It follows the sources with sessions of its own, beside those of
the migration controller, so that neither waits for the other. No inventory is stored.
"""
