"""The few message types that operator, runtime and ledger share; no I/O."""
