"""The drop-in for werkzeug.serving, over real sockets."""
