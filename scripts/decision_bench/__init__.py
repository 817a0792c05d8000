"""What bench_decision measures: one module per work."""
