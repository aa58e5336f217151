"""The fleet: what is pure in it, and what a worker refuses."""
