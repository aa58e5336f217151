"""The report of a version: one HTML file that needs nothing but a browser. What is on it is computed from manifests."""
