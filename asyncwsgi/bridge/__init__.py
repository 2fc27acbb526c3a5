"""Where a worker thread meets the event loop, and the only place where it does."""
