"""What the package's commands measure with: comparisons, matrices, limits, pressure."""
