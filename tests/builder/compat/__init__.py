"""Tests of what runs where, in builder/platforms/."""
