"""The tests mirror the source tree; `fakes.py` has what they share, `conftest.py` the fixtures."""
