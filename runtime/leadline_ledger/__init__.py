"""The ledger: outcomes, decisions and model bytes, durably and once each."""
