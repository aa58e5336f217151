"""Whose signatures count on this machine, how that changes over time, and what they prove."""
