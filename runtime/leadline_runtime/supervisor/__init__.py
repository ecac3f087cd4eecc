"""The process that answers for the pod: owns the admin port, fetches, reports, starts and restarts the worker.

Imports neither onnxruntime nor numpy: it must answer from its first second, and a native crash must not reach it.
"""
