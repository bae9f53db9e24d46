"""What changed between two versions of a context's routes."""

from __future__ import annotations

from ._errors import RoutesDamaged
from ._routes import Routes


class Delta:
    """PENDING."""

    def after(self, routes: Routes) -> Routes:
        """The routes afterwards."""
        raise RoutesDamaged("pending")


def read_delta(document: object) -> Delta:
    """PENDING."""
    return Delta()
