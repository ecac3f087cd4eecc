"""A kind-compatible local cluster for machines without Docker; `../kind` is its command."""
