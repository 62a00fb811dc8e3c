"""Mutation testing: small changes of production code that its tests must notice."""
