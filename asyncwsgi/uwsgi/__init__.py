"""Bytes to requests of the uwsgi protocol, and these to environs. Pure."""
