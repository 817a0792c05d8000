"""What scripts/bench_engine is made of: works, contenders, and the table that they fill."""
