"""Conditions: claims about pure functions, each a function that is to return True.

Each has one sentence, the requirements that it is about, and PEP 316 contracts: ``pre:`` bounds
what is looked at, ``post: _`` says that it returns True.
"""
