"""Where a model comes from: one file each, imported on use."""
