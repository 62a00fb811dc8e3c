"""Tests of the specification and of its tools."""
