"""The live server, what it records, and how any server is made to record."""
