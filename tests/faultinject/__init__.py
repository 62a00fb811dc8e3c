"""The fault layer: its own laws, and what it says of the tree."""
