"""Where blobs, results and versions are kept."""
