"""What `benchmark.py` and `regularity.py` time and measure."""
