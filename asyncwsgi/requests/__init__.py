"""One request in one worker thread, and the only place where a thread meets the loop."""
