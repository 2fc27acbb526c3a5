"""PEP 3333 as blocking code: the environ, the application's call, the rules of its response."""
