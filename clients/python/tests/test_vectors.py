"""``vectors/route.json``: what every router, in every language, must say."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from replat_sqlalchemy import (
    BadKey,
    KeyType,
    KeyValue,
    Login,
    News,
    PartitionHeld,
    RoutePolicy,
    Router,
    Routes,
    RoutesStale,
    RoutesUnavailable,
    UnknownPartition,
    WrongProject,
    cohort,
    first_share,
)
from replat_sqlalchemy._gate import Answer, Gate, Hold
from replat_sqlalchemy._hash import partition_hash
from replat_sqlalchemy._routes import read_routes
from replat_sqlalchemy._sqlstate import closed, commit_may_have_happened

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "route.json").read_text())


def value(written: Any) -> KeyValue:
    """A value as the vectors write it: a number, a text, or a type with its text."""
    if isinstance(written, dict):
        ((name, text),) = written.items()
        return KeyType(name).parse(text)
    return KeyType.BIGINT.of(written) if isinstance(written, int) else KeyType.TEXT.of(written)


def names(entries: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("entry", entries, ids=lambda entry: entry["name"])


@names(VECTORS["placements"])
def test_placements(entry: dict[str, Any]) -> None:
    map_ = read_routes(entry["routes"]).map
    for case in entry["cases"]:
        key = [value(part) for part in case["key"]]
        leaf = map_.lookup(key)
        found = (leaf.partition, leaf.home.database, leaf.home.schema, leaf.epoch)
        assert found == (case["partition"], case["database"], case["schema"], case["epoch"]), case
        assert [f"{partition_hash([part]):016x}" for part in key] == case["hash"], case
        types = [dimension.key_type for dimension in map_.dimensions]
        assert [t.text_of(part) for t, part in zip(types, key, strict=True)] == case["text"]
        assert [t.parse(text) for t, text in zip(types, case["text"], strict=True)] == key
        for at in range(len(key)):
            partial: list[KeyValue | None] = [part if n == at else None for n, part in enumerate(key)]
            assert leaf in map_.lookup_partial(partial)
    for case in entry["refused"]:
        with pytest.raises(BadKey):
            map_.lookup([value(part) for part in case["key"]])


@names(VECTORS["reads"])
def test_reads(entry: dict[str, Any]) -> None:
    routes = read_routes(entry["routes"])
    route = routes.route(routes.map.lookup([value(part) for part in entry["key"]]))
    for sample in entry["samples"]:
        answer = route.read(sample["sample"])
        shadow = None if answer.shadow is None else str(answer.shadow)
        found = (str(answer.answers), shadow, answer.stale_max_ms)
        assert found == (sample["answers"], sample["shadow"], sample["stale_max_ms"]), sample


def test_cohorts_and_shares() -> None:
    for entry in VECTORS["cohorts"]:
        assert cohort(entry["partition"]) == entry["cohort"]
    for entry in VECTORS["shares"]:
        assert first_share(entry["partitions"], entry["hundredths"]) == entry["first"]


class Script:
    """A source that says what a scenario lets it say."""

    name = "scenario"

    def __init__(self) -> None:
        self.news = News([], None)
        self._woken = threading.Event()

    def read(self, have: int) -> News:
        return self.news

    def wait(self, seconds: float) -> None:
        self._woken.wait(seconds)
        self._woken.clear()

    rest = wait

    def attend(self, version: int, answers: object) -> None:
        pass

    def wake(self) -> None:
        self._woken.set()

    def after_fork(self) -> None:
        pass

    def close(self) -> None:
        pass


class Play:
    """One scenario against a router, with a clock of its own."""

    def __init__(self, routes: dict[str, Any]) -> None:
        self.routes = {name: read_routes(document) for name, document in routes.items()}
        first: Routes | None = self.routes.get("v1")
        self.source = Script()
        self.now = 0.0
        policy = RoutePolicy(on_switch="raise", start_wait=0, max_stale="1h")
        self.router = Router(
            self.source,
            project=first.project if first else "p",
            context=first.map.context if first else "c",
            policy=policy,
            login=Login(user="nobody"),
        )
        self.router._follower.gate = Gate(lambda: self.now)  # type: ignore[misc]
        self.holds: dict[str, Hold] = {}
        self.inside: dict[str, Any] = {}

    def take(self, name: str) -> object:
        before = self.router.status()["version"]
        self.source.news = News([self.routes[name]], None)
        try:
            if not self.router.refresh(timeout=0.5):
                fault = self.router._follower.fault
                assert isinstance(fault, WrongProject)
                theirs = self.routes[name].project
                return {"refused": "project" if theirs != self.router.project else "context"}
        finally:
            self.source.news = News([], None)
            self.router.refresh()
        after = self.router.status()["version"]
        return {"version": after} if after > before else {"refused": "version"}

    def find(self, key: list[Any]) -> object:
        try:
            route = self.router.lookup(tuple(key))
        except RoutesUnavailable:
            return {"refused": "no_routes"}
        except BadKey:
            return {"refused": "key"}
        return {"partition": route.partition, "home": str(route.home), "epoch": route.epoch}

    def find_partition(self, name: str) -> object:
        try:
            route = self.router.lookup(name)
        except UnknownPartition:
            return {"refused": "unknown_partition"}
        return {"partition": route.partition, "home": str(route.home), "epoch": route.epoch}

    def enter(self, who: dict[str, Any]) -> object:
        session = self.router.session(tuple(who["key"]), read_only=who["intent"] == "read")
        try:
            session.get_bind()
        except PartitionHeld:
            return {"refused": "held"}
        except RoutesStale:
            return {"refused": "behind"}
        self.inside[who["as"]] = session
        assert session.route is not None
        return {"partition": session.partition, "home": str(session.route.home), "epoch": session.route.epoch}

    def leave(self, who: str) -> None:
        self.inside.pop(who).close()

    def hold(self, call: dict[str, Any]) -> object:
        """What a registry does with a call for a hold, and then tells every router."""
        partition, attempt = call["partition"], call["attempt"]
        standing = self.holds.get(partition)
        if self.router.lookup(partition).epoch > call["epoch"]:
            return "past"
        if standing is not None and standing.epoch == call["epoch"] and standing.attempt > attempt:
            return "superseded"
        until = self.now + call["lasts_ms"] / 1000
        self.holds[partition] = Hold(partition, call["epoch"], attempt, "d", until, call["reads"])
        self.router._follower.gate.set(self.holds.values())
        return "closed"

    def release(self, call: dict[str, Any]) -> object:
        standing = self.holds.get(call["partition"])
        if standing is None or standing.attempt > call["attempt"]:
            return False
        del self.holds[call["partition"]]
        self.router._follower.gate.set(self.holds.values())
        return True

    def answers(self, _: None) -> object:
        found: list[Answer] = self.router._follower.answers()
        return [{"partition": a.partition, "attempt": a.attempt, "busy": a.busy} for a in found]

    def heard(self, said: dict[str, Any]) -> None:
        self.router._heard_refusal(said["partition"], said["epoch"])

    def read(self, _: None) -> None:
        assert self.router.refresh()


def wait_ms(play: Play, ms: int) -> None:
    play.now += ms / 1000


def decided(error: dict[str, Any]) -> dict[str, Any]:
    """What sessions and `transactional` do about an error, in the words of the vectors."""
    raised = Exception()
    if error["sqlstate"] is not None:
        raised.sqlstate = error["sqlstate"]  # type: ignore[attr-defined]
        raised.diag = SimpleNamespace(message_detail=error.get("detail"))  # type: ignore[attr-defined]
    if (said := closed(raised)) is not None:
        if error["stage"] in ("first", "whole", "commit_of_whole"):
            return {"do": "refresh_and_retry", "partition": said.partition, "epoch": said.epoch}
        return {"do": "hand_out", "retryable": True}
    if error["stage"].startswith("commit") and commit_may_have_happened(raised):
        return {"do": "outcome_unknown"}
    return {"do": "hand_out"}


@names([entry for entry in VECTORS["scenarios"] if entry["staleness"] == "all"])
def test_scenarios(entry: dict[str, Any]) -> None:
    play = Play(entry["routes"])
    try:
        for number, step in enumerate(entry["steps"]):
            want = step.pop("want")
            ((verb, argument),) = step.items()
            if verb == "error":
                if want["do"] == "ask_for_partition":
                    continue  # this router leaves missing partitions to the application
                got = decided(argument)
                assert got.items() <= {**want, **got}.items() and got["do"] == want["do"], (number, step)
                continue
            got_: object = wait_ms(play, argument) if verb == "pass" else getattr(play, verb)(argument)  # type: ignore[func-returns-value]
            assert got_ == want, (number, step, want, got_)
    finally:
        play.router.close()
