"""One case: a schema is made, planned, mended; its partition goes there, back, there again, to the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path

import psycopg

import packages
from compare import EVERY_ROW, Eye, not_of, of, quoted
from fill import Filler
from servers import Server
from traffic import Writer

PATIENCE = 90.0
"""Seconds that a phase of these small deployments may take at most."""


FINDING = re.compile(r"^([A-Z][A-Z_]+) ")
"""A line of a refusal: the finding's code, then its place and words."""


STOPPED = re.compile(r" d\d+ RP(?!100[12] )\d{4} ")
"""A line of the runner: what keeps it from going on. After RP1001 and RP1002 it tries again by itself."""


class Failed(Exception):
    """Something is not as the case expects, in one sentence."""


@dataclass
class Outcome:
    """What a case came to; `problems` is empty if all is as `case.toml` says."""

    name: str
    source: str
    tables: int = 0
    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    end: str = "-"
    writes: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class Case:
    """A directory below this one: `case.toml`, `replat.toml`, and what else it names."""

    def __init__(self, folder: Path):
        self.folder, self.name = folder, folder.name
        self.told = tomllib.loads((folder / "case.toml").read_text())
        self.spec = tomllib.loads((folder / "replat.toml").read_text())
        told = self.told["source"]
        self.source = packages.Source(
            told["registry"],
            told["package"],
            told["version"],
            tuple(told.get("files", ())),
            tuple(told.get("extras", ())),
        )
        self.move = self.told["move"]
        (self.context,) = self.spec["contexts"].values()
        self.rollout = self.context["rollout"]
        self.schema, self.green_schema = self.context["home"]["schema"], self.rollout["to"]["schema"]

    def tables(self, mode: str) -> list[str]:
        return [name for name, table in self.context["tables"].items() if table.get("mode", "slice") == mode]

    def green_name(self, blue: str) -> str:
        renamed = self.rollout.get("tables", {})
        return next((green for green, told in renamed.items() if told["from"] == blue), blue)

    def text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""


class Journey:
    """A case on two servers, in a folder of its own."""

    def __init__(self, case: Case, blue: Server, green: Server, replat: Path, work: Path, cache: Path):
        self.case, self.blue, self.green, self.replat = case, blue, green, replat
        self.work, self.cache = work / case.name, cache
        self.outcome = Outcome(case.name, str(case.source))
        self.offered: list[str] = []
        self.writers: list[Writer] = []
        self.runner: subprocess.Popen | None = None
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)

    def go(self) -> Outcome:
        began = time.monotonic()
        try:
            self._make()
            self._plan()
            if self.case.told["expect"]["end"] == "moved":
                self._there_and_back()
            elif self.case.told["expect"]["end"] == "stopped":
                self._begin_and_give_up()
            self.outcome.end = self.case.told["expect"]["end"]
        except (
            Failed,
            RuntimeError,
            packages.Unavailable,
            psycopg.Error,
            subprocess.TimeoutExpired,
        ) as error:
            self.outcome.problems.append(f"{type(error).__name__}: {error}")
            self.outcome.end = "absent" if isinstance(error, packages.Unavailable) else "failed"
        finally:
            for writer in self.writers:
                writer.end()
            self._stop_runner()
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    # -- the databases

    def _make(self) -> None:
        case = self.case
        home = packages.fetch(case.source, self.cache)
        self.blue.recreate(case.name)
        self.green.recreate(case.name)
        program = case.folder / "load.py"
        if program.exists():
            python = home / "bin" / "python" if case.source.registry == "venv" else sys.executable
            done = subprocess.run(
                [str(python), str(program), str(home)],
                capture_output=True,
                text=True,
                env={**os.environ, **self.blue.environment(case.name)},
                timeout=540,
            )
            if done.returncode != 0:
                raise Failed(f"load.py: {done.stderr.strip()[-800:]}")
            self.blue.psql(case.name, done.stdout)
        self.blue.psql(case.name, packages.sql_of(home, case.source.files))
        self.blue.psql(case.name, case.text("rows.sql"))
        told = case.told.get("fill")
        if told:
            keys = [case.move[name] for name in ("mine", "other", "quiet")]
            filler = Filler(self.blue.url(case.name), case.schema, case.move["key"], told.get("settings", {}))
            self.outcome.empty = filler.fill(
                case.tables("reference") + case.tables("slice"), keys, told["rows"]
            )
        self.blue.psql(case.name, case.text("after_fill.sql"))
        self.blue.psql(case.name, "ANALYZE")

    def _green_ddl(self) -> None:
        """The new version: the old one as pg_dump writes it, then what the case changes on it."""
        case = self.case
        chosen = [f"--exclude-table={pattern}" for pattern in case.move.get("without", [])]
        text = self.blue.dump(
            case.name,
            "--schema-only",
            f"--schema={case.schema}",
            "--no-owner",
            "--no-privileges",
            "--no-publications",
            "--no-subscriptions",
            *chosen,
        )
        text = text.replace(f"CREATE SCHEMA {case.schema};", f"CREATE SCHEMA IF NOT EXISTS {case.schema};")
        for before, after in case.move.get("replace", []):
            text = text.replace(before, after)
        (self.work / "green.sql").write_text(
            case.text("green_before.sql") + text + case.text("green_after.sql")
        )

    # -- replat

    def _environment(self) -> dict[str, str]:
        urls = {"BLUE_URL": self.blue.url(self.case.name), "GREEN_URL": self.green.url(self.case.name)}
        return {**os.environ, **urls, "NO_COLOR": "1"}

    def _replat(self, *arguments: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [str(self.replat), *arguments],
            cwd=self.work,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        with open(self.work / "replat.log", "a", encoding="utf-8") as log:
            log.write(
                f"$ replat {' '.join(arguments)}\n{done.stdout}{done.stderr}= exit {done.returncode}\n\n"
            )
        return done

    def _planned(self) -> list[str]:
        """The codes of what stands in the way, each once; none if there is a plan."""
        self._green_ddl()
        ask = ("plan", "deploy", "-p", self.case.move["partition"], "--no-input")
        self._replat(*ask, "--detail")
        done = self._replat(*ask, "--json")
        said = json.loads(done.stdout or done.stderr)
        if done.returncode == 0:
            self.outcome.warnings = _unique(hazard["name"] for hazard in _all(said, "hazards"))
            self.offered = []
            return []
        because = [line for line in _all(said, "because") if isinstance(line, str)]
        self.offered = [line for line in _all(said, "remedy") if isinstance(line, str)]
        codes = [found.group(1) for line in because if (found := FINDING.match(line))]
        return _unique(codes) or [f"{_all(said, 'code')[0]}: {_all(said, 'what')[0]} {'; '.join(because)}"]

    def _take_offered(self) -> None:
        """Carries out, word for word, the remedies that are statements; those that need a person stay."""
        with psycopg.connect(self.blue.url(self.case.name), autocommit=True) as session:
            for remedy in self.offered:
                if not remedy.startswith(("ALTER ", "CREATE ")) or "…" in remedy:
                    continue
                # The new version's DDL is a dump of blue, so it has what blue gets.
                if remedy.endswith("-- in the DDL"):
                    continue
                for statement in remedy.split(" -- ")[0].split("; "):
                    session.execute(statement)

    def _plan(self) -> None:
        case = self.case
        shutil.copy(case.folder / "replat.toml", self.work / "replat.toml")
        self.outcome.tables = len(case.tables("slice")) + len(case.tables("reference"))
        told = case.told["expect"]
        self.outcome.findings = self._planned()
        self._expect("the first plan finds", self.outcome.findings, told.get("first", []))
        remedies = case.text("remedies.sql")
        if remedies or told.get("take_offered"):
            self.blue.psql(case.name, remedies)
            if told.get("take_offered"):
                # What the case's own remedies did not settle already.
                self._planned()
                self._take_offered()
            self._expect("after the remedies the plan finds", self._planned(), told.get("then", []))

    def _expect(self, what: str, found: list[str], wanted: list[str]) -> None:
        if sorted(found) != sorted(wanted):
            raise Failed(
                f"{what} {sorted(found)}, and {sorted(wanted)} was expected; see {self.work}/replat.log"
            )

    def _there_and_back(self) -> None:
        case = self.case
        before = self._untouched()
        schema_before = self._schema(self.blue, case.name)
        self._begin()
        self._wait("soak")
        self._look("after the switch", home=1)
        self._say("rollback")
        self._wait("rolled-back", "ready")
        self._look("after the rollback", home=0)
        self._say("switch")
        self._wait("soak")
        self._look("after the second switch", home=1)
        for writer in self.writers:
            writer.pause()
        self._compare("before the end")
        self._say("finish")
        if settles := case.text("at_the_end.sql"):
            # Rows that stay and refer to rows that went keep the retired copy until somebody settles them.
            self._until_said("RP1003")
            self.blue.psql(case.name, settles)
            before = self._untouched()
        self.runner.wait(PATIENCE)
        self._after(before, schema_before)

    def _begin(self) -> None:
        """Writers first, then the deployment, which runs until it is finished or stopped."""
        case = self.case
        self._start_writers()
        allowed = [word for name in case.move.get("allow", []) for word in ("--allow", name)]
        command = [
            str(self.replat),
            "deploy",
            "-p",
            case.move["partition"],
            "--yes",
            "--no-input",
            "--progress",
            "plain",
            *allowed,
        ]
        with open(self.work / "deploy.log", "w", encoding="utf-8") as log:
            self.runner = subprocess.Popen(
                command, cwd=self.work, env=self._environment(), stdout=log, stderr=subprocess.STDOUT
            )

    def _begin_and_give_up(self) -> None:
        """A deployment that cannot end well: it says so in time, and an abort leaves nothing."""
        case, code = self.case, self.case.told["expect"]["code"]
        before = self._untouched()
        schemas = [server.dump(case.name, "--schema-only") for server in (self.blue, self.green)]
        self._begin()
        self._until_said(code)
        self._stop_runner()
        self._say("abort")
        for writer in self.writers:
            writer.pause()
        if self.writers[0].home != 0 or any(writer.errors or writer.refused for writer in self.writers):
            raise Failed(f"writers were disturbed: {[(w.home, w.refused, w.errors) for w in self.writers]}")
        self.outcome.writes = sum(writer.done for writer in self.writers)
        changed = [table for table, rows in self._untouched().items() if before[table] != rows]
        if changed:
            raise Failed(f"rows of others changed: {changed}")
        for side, server, wanted in zip(("blue", "green"), (self.blue, self.green), schemas):
            self._same_schema(side, wanted, server.dump(case.name, "--schema-only"))

    def _until_said(self, code: str) -> None:
        """Waits until the runner says this code."""
        ends = time.monotonic() + PATIENCE
        while f" {code} " not in (said := (self.work / "deploy.log").read_text()):
            if time.monotonic() > ends or self.runner.poll() is not None:
                raise Failed(f"{code} was expected: …{said[-600:]}")
            time.sleep(0.25)

    def _say(self, verb: str) -> None:
        done = self._replat("deploy", verb)
        if done.returncode != 0:
            raise Failed(
                f"deploy {verb} exits with {done.returncode}: {(done.stdout + done.stderr).strip()[-400:]}"
            )

    def _wait(self, *phases: str) -> None:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            done = self._replat("deploy", "list", "--json")
            if done.returncode == 0 and done.stdout.strip():
                rows = [item for item in _all(json.loads(done.stdout), "phase")]
                if rows and rows[-1] in phases:
                    return
            if self.runner is not None and (self.runner.poll() is not None or self._is_stuck()):
                break
            time.sleep(0.25)
        tail = (self.work / "deploy.log").read_text()[-900:]
        raise Failed(f"phase {' or '.join(phases)} was not reached; the runner said: …{tail}")

    def _is_stuck(self) -> bool:
        """Whether what the runner waits for is a person, or the same error over and over."""
        return STOPPED.search((self.work / "deploy.log").read_text()) is not None

    def _stop_runner(self) -> None:
        if self.runner is not None and self.runner.poll() is None:
            self.runner.terminate()
            try:
                self.runner.wait(20)
            except subprocess.TimeoutExpired:
                self.runner.kill()

    # -- the load

    def _start_writers(self) -> None:
        case, writes = (
            self.case,
            [(told["sql"], told.get("green", told["sql"])) for told in self.case.told.get("writes", [])],
        )
        urls = [self.blue.url(case.name), self.green.url(case.name)]
        self.writers = [
            Writer("mine", urls, case.schema, case.move["mine"], writes),
            Writer("other", urls[:1], case.schema, case.move["other"], writes),
        ]
        for writer in self.writers:
            writer.start()
            writer.resume()

    def _look(self, when: str, home: int) -> None:
        """Lets the load go on for a moment, then holds it and compares."""
        time.sleep(1.5)
        for writer in self.writers:
            writer.pause()
        self._compare(when)
        mine = self.writers[0]
        if mine.acknowledged and mine.home != home:
            raise Failed(f"{when} the writer of the partition is at home {mine.home}, not {home}")
        witness = self.case.told.get("witness")
        if witness:
            for writer, server in [(mine, [self.blue, self.green][home]), (self.writers[1], self.blue)]:
                with psycopg.connect(server.url(self.case.name)) as session:
                    session.execute(f'SET search_path = "{self.case.schema}"')
                    asked = self.case.told.get("witness_green", witness) if server is self.green else witness
                    there = {row[0] for row in session.execute(asked, {"tenant": writer.tenant})}
                lost = writer.acknowledged - there
                if lost:
                    raise Failed(
                        f"{when} {len(lost)} acknowledged writes of {writer.name} are lost: "
                        f"{sorted(lost)[:3]}"
                    )
        for writer in self.writers:
            if writer.errors:
                raise Failed(f"{when}, writes of {writer.name} failed: {writer.errors.most_common(2)}")
            writer.resume()

    # -- by other eyes than replat's

    def _compare(self, when: str) -> None:
        """The stream has to bring the last writes first, so a difference counts only if it stays."""
        ends = time.monotonic() + 20
        while True:
            different = self._different()
            if not different:
                return
            if time.monotonic() > ends:
                raise Failed(f"{when} the sides differ: {'; '.join(different)}")
            time.sleep(0.2)

    def _different(self) -> list[str]:
        case, key = self.case, self.case.move["key"]
        blue = Eye(self.blue.url(case.name), case.schema)
        green = Eye(self.green.url(case.name), case.green_schema)
        found = []
        for table in case.tables("slice") + case.tables("reference"):
            other = case.green_name(table)
            condition = of(key, case.move["mine"])
            if table in case.tables("reference"):
                condition = EVERY_ROW
            ups = {column: told["up"] for column, told in self.rollout_map(other).items() if "up" in told}
            columns = [c for c in green.columns(other) if c in ups or c in blue.columns(table)]
            left = blue.rows(table, condition, [ups.get(c) or quoted(c) for c in columns])
            right = green.rows(other, condition, [quoted(c) for c in columns])
            if left != right:
                found.append(f"{table}: {left.count} rows on blue, {right.count} on green")
        blue.close()
        green.close()
        return found

    def rollout_map(self, table: str) -> dict:
        """What the spec says of a new table's columns: plain SQL, so blue can be asked for it."""
        return self.case.rollout.get("map", {}).get(table, {})

    def _untouched(self) -> dict[str, object]:
        """Rows of blue that nobody writes: a third partition, and the tables that do not move."""
        case = self.case
        eye = Eye(self.blue.url(case.name), case.schema)
        found: dict[str, object] = {}
        for table in eye.tables():
            if table in case.tables("slice"):
                found[table] = eye.rows(table, of(case.move["key"], case.move["quiet"]))
            elif table not in case.move.get("written_elsewhere", []):
                found[table] = eye.rows(table)
        eye.close()
        return found

    @staticmethod
    def _schema(server: Server, database: str) -> str:
        """The schema as pg_dump writes it, without what is to stay: blue's guard, green's schema version."""
        text = server.dump(database, "--schema-only", "--exclude-schema=replat")
        return "\n".join(line for line in text.splitlines() if " zz_replat_" not in line) + "\n"

    def _after(self, before: dict[str, object], schema_before: str) -> None:
        """Nothing else was touched, and nothing is left but blue's guard, which refuses stale writers."""
        case = self.case
        tail = (self.work / "deploy.log").read_text()[-600:]
        if self.runner.returncode != 0:
            raise Failed(f"the runner ended with {self.runner.returncode}: …{tail}")
        after = self._untouched()
        changed = [table for table in before if before[table] != after.get(table)]
        if changed:
            raise Failed(f"rows of others changed: {changed}")
        green = Eye(self.green.url(case.name), case.green_schema)
        for table in case.tables("slice"):
            strangers = green.rows(case.green_name(table), not_of(case.move["key"], case.move["mine"]))
            if strangers.count:
                raise Failed(f"green.{table} has {strangers.count} rows of others")
        blue = Eye(self.blue.url(case.name), case.schema)
        broken = [
            f"{found} on {side}"
            for side, eye in (("blue", blue), ("green", green))
            for found in eye.orphans()
        ]
        kept = {t: blue.rows(t, of(case.move["key"], case.move["mine"])).count for t in case.tables("slice")}
        blue.close()
        green.close()
        if sorted(broken) != sorted(case.told["expect"].get("broken", [])):
            raise Failed(f"foreign keys do not hold: {broken}")
        if any(kept.values()):
            raise Failed(f"blue still has rows of the partition: {kept}")
        self._same_schema("blue", schema_before, self._schema(self.blue, case.name))
        self.green.recreate(f"{case.name}_twin")
        text = f'SET search_path = "{case.green_schema}", public;\n' + (self.work / "green.sql").read_text()
        self.green.psql(f"{case.name}_twin", f'CREATE SCHEMA IF NOT EXISTS "{case.green_schema}";\n{text}')
        wanted = self._schema(self.green, f"{case.name}_twin")
        self._same_schema("green", wanted, self._schema(self.green, case.name))
        for server in (self.blue, self.green):
            with psycopg.connect(server.url(case.name)) as session:
                left = session.execute(
                    "SELECT 'slot ' || slot_name FROM pg_replication_slots "
                    "WHERE database = current_database() "
                    "UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin "
                    "UNION ALL SELECT 'publication ' || pubname FROM pg_publication"
                ).fetchall()
            if left:
                raise Failed(f"left on {server.name}: {left}")
        self.outcome.writes = sum(writer.done for writer in self.writers)

    def _same_schema(self, side: str, wanted: str, found: str) -> None:
        lines = list(unified_diff(sorted(wanted.splitlines()), sorted(found.splitlines()), lineterm="", n=0))
        changed = [line for line in lines[2:] if not line.startswith("@@")]
        if changed:
            (self.work / f"{side}.diff").write_text(
                "\n".join(unified_diff(wanted.splitlines(), found.splitlines(), lineterm=""))
            )
            raise Failed(f"the schema of {side} is not as before: {len(changed)} lines: {changed[:6]}")


def _unique(items) -> list[str]:
    return list(dict.fromkeys(items))


def _all(value, key: str) -> list:
    """Everything that stands below `key` anywhere in a JSON value, lists flattened."""
    found: list = []
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                found.extend(inner if isinstance(inner, list) else [inner])
            else:
                found.extend(_all(inner, key))
    elif isinstance(value, list):
        for inner in value:
            found.extend(_all(inner, key))
    return found
