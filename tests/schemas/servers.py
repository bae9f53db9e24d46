"""Throw-away PostgreSQL servers on 127.0.0.1, and what is asked of them beside replat."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg

SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "max_connections": "60",
    "max_locks_per_transaction": "512",
    "shared_buffers": "'64MB'",
    "fsync": "off",
    "timezone": "'UTC'",
}


def binaries() -> Path:
    """The directory of the server programs: REPLAT_PG_BIN, or the newest there is."""
    named = os.environ.get("REPLAT_PG_BIN")
    places = [named] if named else sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=_major, reverse=True)
    for place in places:
        if (Path(place) / "initdb").exists():
            return Path(place)
    raise SystemExit("no PostgreSQL server programs; install them or set REPLAT_PG_BIN")


def _major(path: str) -> int:
    part = path.split("/")[-2]
    return int(part) if part.isdigit() else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """One cluster with its port; it is stopped and removed by `stop`."""

    name: str
    folder: Path
    port: int

    @classmethod
    def start(cls, name: str, under: Path) -> Server:
        """A fresh cluster. PostgreSQL refuses root, so there it runs as `postgres`."""
        server = cls(name, under / name, _free_port())
        server.folder.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(server.folder, "postgres", "postgres")
        data = server.folder / "data"
        server._run(
            "initdb",
            "-D",
            str(data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        lines = [f"{key} = {value}" for key, value in {**SETTINGS, "port": server.port}.items()]
        with open(data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write("\n".join(lines) + "\n")
        server._run("pg_ctl", "-D", str(data), "-l", str(server.folder / "log"), "-w", "start")
        return server

    def stop(self) -> None:
        """Stops the server and removes its folder."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [str(binaries() / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        done = subprocess.run(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if check and done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}")

    def url(self, database: str) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def environment(self, database: str) -> dict[str, str]:
        """What libpq's programs read."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGDATABASE": database,
            "PGOPTIONS": "-c client_min_messages=warning",
        }

    def recreate(self, database: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as session:
            session.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
            session.execute(f'CREATE DATABASE "{database}"')

    def psql(self, database: str, text: str) -> None:
        """Runs SQL as psql would, and fails on the first error."""
        self.program(database, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-", feed=text)

    def dump(self, database: str, *arguments: str) -> str:
        """What pg_dump says, without psql's own commands, comments and empty lines."""
        text = self.program(database, "pg_dump", *arguments)
        kept = [
            line
            for line in text.splitlines()
            if line and not line.startswith(("--", "\\restrict", "\\unrestrict"))
        ]
        return "\n".join(kept) + "\n"

    def program(self, database: str, name: str, *arguments: str, feed: str | None = None) -> str:
        done = subprocess.run(
            [str(binaries() / name), *arguments],
            input=feed,
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment(database)},
        )
        if done.returncode != 0:
            raise RuntimeError(f"{name} on {self.name}/{database}: {done.stderr.strip()[-800:]}")
        return done.stdout
