"""What `build inspect` reads out of an artifact: one file per format, and one for what they have in common."""
