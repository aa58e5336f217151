"""The HTTP client of the remotes."""
