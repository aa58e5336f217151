"""Machines: what is detected, what runs where, and what to install."""
