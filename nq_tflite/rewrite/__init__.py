"""The edit that makes a nested graph."""
