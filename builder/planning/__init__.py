"""Cells to jobs to actions. Pure."""
