"""The command `leadline`: what people run on their own machine. Nothing imports it."""
