"""The life of a server: listeners, TLS, start, graceful shutdown."""
