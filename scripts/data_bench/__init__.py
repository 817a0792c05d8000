"""What scripts/bench_data is made of: works, and the events that they are about."""
