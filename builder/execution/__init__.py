"""Performs actions: the scheduler, the worker process, and the executors on this and other machines."""
