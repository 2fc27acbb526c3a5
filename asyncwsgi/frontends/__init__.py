"""Frontends: what clients speak, turned into exchanges for the dispatcher."""
