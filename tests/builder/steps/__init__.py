"""Tests of builder/steps/."""
