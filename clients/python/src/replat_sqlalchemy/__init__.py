"""SQLAlchemy sessions that follow a replat partition from database to database.

``Router.from_url(…)`` follows a context's routes; ``router.session("acme")`` is an ordinary SQLAlchemy session that
goes to wherever the partition lives when its transaction begins, and stays there until the transaction's end.
"""

from ._base import BaseRouter, Guard
from ._cohort import cohort, first_share
from ._envelope import Envelope, project_key, seal
from ._errors import (
    BadFanOut,
    BadKey,
    CrossPartitionWarning,
    ManyPartitions,
    NoPartition,
    NoTable,
    OutcomeUnknown,
    PartitionHeld,
    PartitionLocked,
    PartitionSwitched,
    RouterError,
    RoutesDamaged,
    RouteSnapshot,
    RoutesStale,
    RoutesUnavailable,
    UnknownPartition,
    WrongPartition,
    WrongProject,
)
from ._guards import RelationGuard, RowGuard
from ._keys import KeyType, KeyValue
from ._map import Dimension, Home, Leaf, Map
from ._policy import Duration, FileToken, Login, RoutePolicy
from ._registry import PostgresRegistry, SqliteRegistry
from ._retry import Transactional
from ._router import EVENTS, Router
from ._routes import Address, ReadRoute, Reads, Route, Routes, Traffic
from ._scope import partition_scope
from ._session import RoutedSession
from ._source import FileSource, HttpSource, News, RouteSource
from ._static import StaticRouter
from ._tables import TableName
from ._target import KeyPart, PartitionOrKey

__all__ = [
    "EVENTS",
    "Address",
    "BadFanOut",
    "BadKey",
    "BaseRouter",
    "CrossPartitionWarning",
    "Dimension",
    "Duration",
    "Envelope",
    "FileSource",
    "FileToken",
    "Guard",
    "Home",
    "HttpSource",
    "KeyPart",
    "KeyType",
    "KeyValue",
    "Leaf",
    "Login",
    "ManyPartitions",
    "Map",
    "News",
    "NoPartition",
    "NoTable",
    "OutcomeUnknown",
    "PartitionHeld",
    "PartitionLocked",
    "PartitionOrKey",
    "PartitionSwitched",
    "PostgresRegistry",
    "ReadRoute",
    "Reads",
    "RelationGuard",
    "Route",
    "RoutePolicy",
    "RouteSnapshot",
    "RouteSource",
    "RoutedSession",
    "Router",
    "RouterError",
    "Routes",
    "RoutesDamaged",
    "RoutesStale",
    "RoutesUnavailable",
    "RowGuard",
    "SqliteRegistry",
    "StaticRouter",
    "TableName",
    "Traffic",
    "Transactional",
    "UnknownPartition",
    "WrongPartition",
    "WrongProject",
    "cohort",
    "first_share",
    "partition_scope",
    "project_key",
    "seal",
]
