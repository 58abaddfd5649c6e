"""Vocoder recipe."""
