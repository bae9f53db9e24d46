"""Cohorts: every partition's fixed place in a line from which shares are taken."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

COHORTS: Final = 10_000
"""How many cohorts there are."""


def cohort(partition: str) -> int:
    """The cohort of a partition, drawn from its name alone: the same in every process and language."""
    digest = hashlib.sha256(f"replat/cohort/{partition}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % COHORTS


def first_share(partitions: Iterable[str], hundredths: int) -> list[str]:
    """The share of these partitions that comes first: exactly so many hundredths of a percent, rounded up.

    Whoever is in a share is also in every larger one.
    """
    line = sorted(partitions, key=lambda name: (cohort(name), name))
    return line[: -(-len(line) * min(hundredths, COHORTS) // COHORTS)]
