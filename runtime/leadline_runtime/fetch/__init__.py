"""Bytes from a store to a file: file, http(s) and s3, with progress, resume, limits and a digest. Knows no model."""
