"""Live servers by the names that other test suites know."""
