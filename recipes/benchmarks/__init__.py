"""What `benchmark.py` times and measures."""
