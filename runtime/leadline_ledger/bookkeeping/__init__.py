"""What the ledger means by once each and in order, whatever database keeps it.

Everything here happens inside one transaction of a writer, on rows that a `transaction.Transaction` reads and writes.
"""
