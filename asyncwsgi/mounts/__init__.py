"""WSGI applications inside other servers: what the doors for ASGI and aiohttp share."""
