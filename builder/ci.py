"""The matrix as a CI pipeline: one job per target, on the runner that the matrix names."""
