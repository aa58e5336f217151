"""One file per verb: its flags, and a few named calls."""
