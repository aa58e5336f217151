"""Tests of builder/stores/."""
