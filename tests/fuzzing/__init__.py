"""Hostile input: how it is made, what is done with it, and who watches; the program is `fuzz.py`."""
