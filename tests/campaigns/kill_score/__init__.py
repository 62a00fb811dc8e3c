"""The kill score: is the harness able to notice what may be wrong with a durable tree?

``python -m tests.campaigns.kill_score`` plants faults in the tree, one at a time, and asks whether
each is noticed.

    fault      what a planted fault is
    planted    all of them (planted_order, planted_errors, planted_reading, planted_recovery)
    laws, subjects    what is asked of the tree beside what `rotortree_faultinject` explores
    battery    the checks that must notice a fault
    judging    which check noticed which fault, and the score
"""
