"""Tests of the storage engine: damage, errors, deaths, locks, forks, tokens."""
