"""What is told of single requests: access log and traces, both off unless asked for."""
