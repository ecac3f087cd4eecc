"""Test sets: read in a process of their own, answered by the worker when it has time."""
