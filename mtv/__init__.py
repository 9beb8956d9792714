"""Moves virtual machines out of vSphere: what is migrated, into what, in which order."""
