"""A nested model on one HTML page that needs no other file and no network."""
