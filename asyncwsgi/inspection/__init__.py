"""The request inspector: what happened to each request, recorded by the worker and shown."""
