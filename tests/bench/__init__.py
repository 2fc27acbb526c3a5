"""Tests of the benchmark: what it sends, checks, judges and shows; not how fast anything is."""
