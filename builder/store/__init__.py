"""The store: an OCI image layout with versions, channels, signatures and action records."""
