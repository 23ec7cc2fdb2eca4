"""What a conversion starts from: a graph, its float original, and samples to look at both with."""
