"""What a test leaves behind at its server, and what keeps the server from stopping."""
