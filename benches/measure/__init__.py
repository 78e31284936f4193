"""What the benchmarks share: a server of their own to measure, and one table to print."""
