"""Builders of networks, small and real, with seeded or given weights."""
