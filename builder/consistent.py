"""What must hold between the parts of matrix.yaml."""
