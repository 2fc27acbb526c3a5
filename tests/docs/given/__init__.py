"""What the fragments of each page take for granted: a folder for each, copied to where they run."""
