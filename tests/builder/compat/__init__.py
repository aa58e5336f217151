"""Tests of builder/compat/."""
