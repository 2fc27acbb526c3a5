"""Real neighbours: nginx, HAProxy and systemd, by the files of examples/deployment."""
