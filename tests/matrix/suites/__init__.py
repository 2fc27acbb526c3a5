"""Suites as users write them: each is one module that needs the plugin and what it imports."""
