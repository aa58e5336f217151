"""The executor that leaves work in a queue, and the worker that takes it."""
