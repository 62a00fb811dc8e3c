"""Laws about the source code itself."""
