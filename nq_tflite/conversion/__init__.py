"""Converting: a source becomes a plan, the plan a nested file; its report, advice and search for levels."""
