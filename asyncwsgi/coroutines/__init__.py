"""What the event loop runs for the application: tasks, streams, the news that a client left."""
