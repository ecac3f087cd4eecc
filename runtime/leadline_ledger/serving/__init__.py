"""The ledger over HTTP: who may, what is asked, and which status an error has."""

from leadline_ledger.serving.application import Parts, application

__all__ = ["Parts", "application"]
