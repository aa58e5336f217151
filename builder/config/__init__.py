"""matrix.yaml as checked records: reader, checks, selectors, JSON Schema."""
