"""Where an action is performed."""
