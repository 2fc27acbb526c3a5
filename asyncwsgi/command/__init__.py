"""What the command line finds for itself: settings of the project, the application."""
