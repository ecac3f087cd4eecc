"""Receipts, reported outcomes and copies: how predictions get to be judged by what came true. All in the worker."""
