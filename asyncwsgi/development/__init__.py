"""What the command line offers to who develops: beside the server, and around the application."""
