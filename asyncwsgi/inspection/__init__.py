"""The request inspector: what happened to each request of the process that serves, in a browser."""
