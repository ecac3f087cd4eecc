"""Counts and bitmaps in, p-values and intervals out; no Kubernetes words."""
