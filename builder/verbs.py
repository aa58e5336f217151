"""One file per command: its flags, and a few named calls."""
