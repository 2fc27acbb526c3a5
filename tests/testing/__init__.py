"""asyncwsgi.testing: live servers, the plugin of pytest, the leak check."""
