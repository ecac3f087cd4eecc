"""The process that answers: two ports, one model, orders from the supervisor."""
