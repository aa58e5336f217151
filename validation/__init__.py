"""Measuring artifacts and judging the measurements.

Works on arrays, files and runners; builds nothing.
"""
