"""Weights of real models, as packages of the index carry them."""
