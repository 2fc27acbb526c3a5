"""The tests of Werkzeug and Flask, unmodified, against this server: `make conformance`."""
