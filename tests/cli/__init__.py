"""Tests of the ``rotortree`` command, of `rotortree.storage.audit`, and of the demonstration."""
