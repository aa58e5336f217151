"""The HTML page of a version."""
