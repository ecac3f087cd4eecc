"""Asks runtimes, and turns their answers into observations."""
