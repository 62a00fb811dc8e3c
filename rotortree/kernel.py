"""The one place that chooses the bulk-hash kernel.

A native kernel of the same interface will be preferred here when it is built; until then, and
wherever there is no compiler, it is `rotortree._portable`.
"""

from __future__ import annotations

from rotortree._portable import NAME, hash_group, hash_groups

__all__ = ["NAME", "hash_group", "hash_groups"]
