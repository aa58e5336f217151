"""The int8 step and its parts: calibration, placement of Q/DQ pairs, folded norms."""
