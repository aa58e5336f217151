"""Places outside that versions are published to and pulled from: one file each, imported on use."""
