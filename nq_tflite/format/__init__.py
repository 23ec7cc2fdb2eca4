"""Nestings, levels, codes and the bytes of a nested file; needs NumPy only."""
