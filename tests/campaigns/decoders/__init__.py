"""Fuzzed decoders: whatever bytes they are given, they refuse them or mean exactly these.

``python -m tests.campaigns.decoders`` fuzzes them, guided by coverage where atheris is installed;
``python -m tests.campaigns.decoders corpus`` writes the kept corpus anew.
"""
