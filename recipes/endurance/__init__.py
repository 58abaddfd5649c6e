"""The parts of `endure.py`: trainings that are killed, run out of disk, or run for long."""
