"""What the benchmarks share: measuring, processes, the machine, the page."""
