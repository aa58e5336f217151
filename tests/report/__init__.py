"""Tests of the report: what is on the page, and the page in a real browser."""
