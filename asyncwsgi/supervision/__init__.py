"""Processes that serve the same listeners: started, replaced and stopped by a supervisor."""
