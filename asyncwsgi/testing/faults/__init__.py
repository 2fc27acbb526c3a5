"""Servers that misbehave as a test tells them."""
