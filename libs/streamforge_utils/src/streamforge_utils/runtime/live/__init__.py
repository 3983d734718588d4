"""Loading streams: connections, order, repair, baskets and handovers."""
