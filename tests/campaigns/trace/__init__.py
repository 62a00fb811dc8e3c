"""From each requirement of the specification to its evidence: ``python -m tests.campaigns.trace``.

`requirements` reads the texts, `lock` knows which wording somebody looked at, `citations` finds
who cites what, `records` is what checkers write when they ran (`plugin` for pytest), `matrix` puts
these together and judges, `pages` shows it.
"""
