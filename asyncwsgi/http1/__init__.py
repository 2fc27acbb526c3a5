"""HTTP/1.1 as bytes: requests in (parsed by h11), responses out. No reads, no clock, no loop."""
