"""Tests of what the command line finds for itself."""
