"""matrix.yaml as checked records: the reader, the checks, the selectors, the JSON Schema."""
