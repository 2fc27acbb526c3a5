"""What is in `suites` is run by `tests.matrix.run` and by tests, in processes of their own."""

collect_ignore = ["suites"]
