"""What `calibrate.py` measures: false alarms, power, and levels with their intervals."""
