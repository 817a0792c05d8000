"""What bench_nspdi measures: one module per work."""
