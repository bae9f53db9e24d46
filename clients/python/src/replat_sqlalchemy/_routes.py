"""What routers are told of a context: its map, where its databases can be reached, and how traffic is shared out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ._document import partition_id, read_home, read_map
from ._errors import RoutesDamaged, WrongProject
from ._json import fields
from ._map import Home, Leaf, Map


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database can be reached. Who may log in, and how, is not here: routes hold no secret."""

    host: str
    port: int
    dbname: str
    endpoint: str | None = None
    """Where the application's own service for this database listens."""


@dataclass(frozen=True, slots=True)
class Reads:
    """A share of one partition's reads that another home answers."""

    home: Home
    percent: int
    shadow: bool
    stale_max_ms: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is special about one partition's requests."""

    schema_version: str | None = None
    features: frozenset[str] = frozenset()
    reads: Reads | None = None


@dataclass(frozen=True, slots=True)
class ReadRoute:
    """Who answers one read."""

    answers: Home
    shadow: Home | None
    """Who is asked too, to compare."""
    stale_max_ms: int | None
    """How far whoever answers may be behind; ``None``: it is the partition's own home."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where the requests for one partition go, at one version of the routes."""

    project: str
    context: str
    version: int
    """The version of the routes that say so."""
    partition: str
    home: Home
    epoch: int
    address: Address
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def database(self) -> str:
        """The database's name in the project's spec."""
        return self.home.database

    @property
    def schema(self) -> str:
        """The schema that holds the tables there."""
        return self.home.schema

    @property
    def schema_version(self) -> str | None:
        """The version of that schema, as deployments name it."""
        return self.traffic.schema_version

    @property
    def features(self) -> frozenset[str]:
        """Features that are switched on for this partition."""
        return self.traffic.features

    @property
    def endpoint(self) -> str | None:
        """Where the application's own service for the partition listens."""
        return self.address.endpoint

    def read(self, sample: int) -> ReadRoute:
        """Who answers a read, if a share of the reads goes to another home. ``sample`` is any number of the caller's.

        Sessions do not go by it: a read of a transaction belongs where its writes go.
        """
        reads = self.traffic.reads
        if reads is None or sample % 100 >= reads.percent or reads.home == self.home:
            return ReadRoute(self.home, None, None)
        if reads.shadow:
            return ReadRoute(self.home, reads.home, None)
        return ReadRoute(reads.home, None, reads.stale_max_ms)


@dataclass(frozen=True, slots=True)
class Routes:
    """Everything that a router needs for one context, at one version."""

    project: str
    map: Map
    addresses: Mapping[str, Address]
    traffic: Mapping[str, Traffic]

    @property
    def version(self) -> int:
        """The version, which is the map's. Routers take only a higher one than they have."""
        return self.map.version

    def route(self, leaf: Leaf) -> Route:
        """Where the requests for a leaf of this map go."""
        return Route(
            project=self.project,
            context=self.map.context,
            version=self.version,
            partition=leaf.partition,
            home=leaf.home,
            epoch=leaf.epoch,
            address=self.addresses[leaf.home.database],
            traffic=self.traffic.get(leaf.partition, _PLAIN),
        )


_PLAIN = Traffic()


def routes_of(
    project: str, map_: Map, addresses: Mapping[str, Address], traffic: Mapping[str, Traffic]
) -> Routes:
    """Routes that are whole: each home has an address, and only partitions that are there have traffic."""
    for leaf in map_.by_name().values():
        if leaf.home.database not in addresses:
            raise RoutesDamaged(
                f"partition {leaf.partition} lives on {leaf.home.database}, which has no address"
            )
    for partition, special in traffic.items():
        if map_.leaf(partition) is None:
            raise RoutesDamaged(f"the map has no partition {partition}, whose traffic is described")
        if special.reads is not None and special.reads.home.database not in addresses:
            raise RoutesDamaged(
                f"reads of {partition} go to {special.reads.home.database}, which has no address"
            )
    return Routes(project, map_, addresses, traffic)


def read_routes(document: object) -> Routes:
    """Whole routes, as they are written in JSON."""
    raw = fields(document, "the routes", {"project": str, "map": dict, "addresses": dict}, {"traffic": dict})
    return routes_of(
        raw["project"],
        read_map(raw["map"]),
        {name: read_address(address) for name, address in raw["addresses"].items()},
        {partition_id(name): read_traffic(traffic) for name, traffic in (raw["traffic"] or {}).items()},
    )


def read_address(document: object) -> Address:
    """An address, as it is written in JSON."""
    raw = fields(document, "an address", {"host": str, "port": int, "dbname": str}, {"endpoint": str})
    if not 0 <= raw["port"] <= 65_535:
        raise RoutesDamaged("a port is a number up to 65535")
    return Address(raw["host"], raw["port"], raw["dbname"], raw["endpoint"])


def read_traffic(document: object) -> Traffic:
    """What is special about one partition's requests, as it is written in JSON."""
    raw = fields(document, "traffic", {}, {"schema_version": str, "features": list, "reads": dict})
    features = raw["features"] or []
    if not all(isinstance(name, str) for name in features):
        raise RoutesDamaged("a feature is named by a text")
    return Traffic(raw["schema_version"], frozenset(features), _read_reads(raw["reads"]))


def _read_reads(document: object) -> Reads | None:
    if document is None:
        return None
    need = {"home": dict, "percent": int, "stale_max_ms": int}
    raw = fields(document, "a share of reads", need, {"shadow": bool})
    if not 0 <= raw["percent"] <= 100 or raw["stale_max_ms"] < 0:
        raise RoutesDamaged(f"{raw['percent']} of a hundred reads is no share")
    return Reads(read_home(raw["home"]), raw["percent"], bool(raw["shadow"]), raw["stale_max_ms"])


def expect(routes: Routes, project: str, context: str) -> Routes:
    """``routes``, if they are this project's and this context's."""
    if (routes.project, routes.map.context) != (project, context):
        raise WrongProject(
            f"these are routes of {routes.project}/{routes.map.context}, and this router is for {project}/{context}"
        )
    return routes
