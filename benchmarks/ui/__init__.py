"""What the web UI costs: on the wire, in the browser's time and in its memory."""
