"""Where a schema comes from: packages of public registries, fetched by the registries' own clients."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


class Unavailable(Exception):
    """A package that could not be fetched here: what was tried, and what its client said."""


@dataclass(frozen=True)
class Source:
    """The `[source]` of a case: a registry, a package and the version that the case was written with."""

    registry: str
    package: str
    version: str
    files: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.registry}:{self.package} {self.version}"


def fetch(source: Source, cache: Path) -> Path:
    """The folder that holds the unpacked package. What is in the cache already is not fetched again."""
    ways = {"debian": _debian, "npm": _npm, "pypi": _pypi, "venv": _venv, "server": _server}
    home = cache / f"{source.registry}-{source.package.strip('@').replace('/', '-')}-{source.version}"
    if (home / ".complete").exists():
        return home
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    ways[source.registry](source, home)
    (home / ".complete").touch()
    return home


def sql_of(home: Path, files: tuple[str, ...]) -> str:
    """The text of SQL files of the package, in this order; `.gz` is unpacked."""
    texts = []
    for name in files:
        path = home / name
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        texts.append(raw.decode())
    return "\n".join(texts)


def _client(command: list[str], where: Path) -> str:
    try:
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=540)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
    return done.stdout


def _only(where: Path, pattern: str) -> Path:
    found = sorted(where.glob(pattern))
    if not found:
        raise Unavailable(f"no {pattern} in {where}")
    return found[0]


def _debian(source: Source, home: Path) -> None:
    # Unpacked, not installed: nothing of the machine changes, and no daemon starts.
    _client(["apt-get", "download", "-q", f"{source.package}={source.version}"], home)
    package = _only(home, "*.deb")
    _client(["dpkg-deb", "-x", str(package), str(home)], home)
    package.unlink()


def _npm(source: Source, home: Path) -> None:
    _client(["npm", "pack", "--silent", f"{source.package}@{source.version}"], home)
    archive = _only(home, "*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(home, filter="data")
    archive.unlink()


def _pypi(source: Source, home: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    _client([*pip, f"{source.package}=={source.version}"], home)
    archive = _only(home, f"*{source.version}*")
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(home)
    else:
        with tarfile.open(archive) as packed:
            packed.extractall(home, filter="data")
    archive.unlink()


def _venv(source: Source, home: Path) -> None:
    """With all it needs, since the package's own program makes the schema."""
    _client([sys.executable, "-m", "venv", str(home)], home)
    wanted = [f"{source.package}=={source.version}", *source.extras]
    _client([str(home / "bin" / "python"), "-m", "pip", "install", "-q", *wanted], home)


def _server(_: Source, __: Path) -> None:
    """Comes with the server programs."""
