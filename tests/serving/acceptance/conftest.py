"""What is in `project` is tests of its own, run by the tests here in processes of their own."""

collect_ignore = ["project"]
