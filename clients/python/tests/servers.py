"""PostgreSQL servers of the tests' own, on free ports of 127.0.0.1; stopped and removed afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "log_min_messages": "fatal",
}


def binaries() -> Path:
    """Where ``postgres`` and ``initdb`` are: ``REPLAT_PG_BIN``, else the newest ones of this machine."""
    told = os.environ.get("REPLAT_PG_BIN")
    usual = [Path(told)] if told else []
    if not told:
        for pattern in ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql*/bin"):
            usual += Path("/").glob(pattern)
        found = shutil.which("initdb")
        usual += [Path(found).resolve().parent] if found else []
    whole = [folder for folder in usual if (folder / "initdb").exists() and (folder / "postgres").exists()]
    if not whole:
        raise RuntimeError("no PostgreSQL server programs; install them or set REPLAT_PG_BIN")
    return max(
        whole,
        key=lambda folder: [int(n) for n in "".join(c if c.isdigit() else " " for c in str(folder)).split()],
    )


def _account() -> tuple[int, int] | None:
    """Whose processes the servers are: ours, or for root somebody without rights, since ``postgres`` refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return found.pw_uid, found.pw_gid
    raise RuntimeError("there is no account to run PostgreSQL")


def _run_as(account: tuple[int, int] | None) -> dict[str, object]:
    return {} if account is None else {"user": account[0], "group": account[1], "extra_groups": []}


class Server:
    """One server; its superuser is ``postgres``, without a password."""

    def __init__(self, folder: Path, account: tuple[int, int] | None) -> None:
        self.folder, self._account = folder, account
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        settings = {**_SETTINGS, "port": str(self.port), "unix_socket_directories": str(self.folder)}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [binaries() / "postgres", "-D", self.folder / "data", *arguments],
                stdout=log,
                stderr=log,
                cwd="/",
                **_run_as(self._account),  # type: ignore[call-overload]
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.execute("postgres", "SELECT 1")
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True
        )

    def execute(self, database: str, statements: str) -> None:
        with self.connect(database) as connection:
            connection.execute(statements)  # type: ignore[call-overload]

    def rows(self, database: str, query: str) -> list[tuple[object, ...]]:
        with self.connect(database) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]


@contextlib.contextmanager
def servers(count: int) -> Iterator[list[Server]]:
    """So many servers, made from one ``initdb``."""
    account = _account()
    root = Path(tempfile.mkdtemp(prefix="replat-python-"))
    started: list[Server] = []
    try:
        if account is not None:
            os.chown(root, *account)
        template = root / "template"
        subprocess.run(
            [
                binaries() / "initdb",
                "-D",
                template,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
            ]
            + ["--locale=C.UTF-8"],
            check=True,
            capture_output=True,
            cwd="/",
            **_run_as(account),
        )
        for number in range(count):
            folder = root / f"s{number}"
            folder.mkdir(mode=0o700)
            if account is not None:
                os.chown(folder, *account)
            subprocess.run(["cp", "-Rp", template, folder / "data"], check=True, cwd="/", **_run_as(account))
            server = Server(folder, account)
            server.start()
            started.append(server)
        yield started
    finally:
        for server in started:
            server.stop(signal.SIGQUIT)
        shutil.rmtree(root, ignore_errors=True)
