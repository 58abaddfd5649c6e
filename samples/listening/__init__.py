"""Builds the listening page: sounds, loudness, tones, and the page itself."""
