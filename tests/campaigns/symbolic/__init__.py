"""Symbolic execution of the pure functions: conditions that hold for all inputs within bounds.

CrossHair runs a function on unknowns and lets a solver decide every branch.  A condition is
*confirmed* if all paths were followed to their ends; *unrefuted* if time ran out without finding a
counterexample, which proves nothing.  `conditions` states them, `confirmed.txt` lists which are
confirmed, and ``python -m tests.campaigns.symbolic`` fails when one no longer is.  Faults planted
in copies of the functions (`plants`) show that conditions can fail.
"""
