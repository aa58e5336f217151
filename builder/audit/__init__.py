"""Drift over versions, reasons, explanations and reports.

Reads manifests and measurements only.
"""
