"""docs/mounting.md's fragments take nothing for granted."""
