"""The catalogue: targets, messages and topics, and the symbols of the exchange."""
