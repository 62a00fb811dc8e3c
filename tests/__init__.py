"""All tests; README.md in this folder is their map."""
