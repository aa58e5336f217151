"""The store: versions, channels, signatures and action records."""
