"""Measuring: accuracy, latency, memory, bytes, methods compared; what a report says of a model; the demo."""
