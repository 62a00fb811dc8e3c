"""What is built and installed from this repository."""
