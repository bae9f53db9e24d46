"""Takes partitions of other people's schemas there and back. `./x schemas` starts it; README.md explains."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from journey import Case, Journey, Outcome
from servers import Server

HERE = Path(__file__).resolve().parent


def main() -> int:
    # So that servers are stopped by whatever ends this program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = _arguments()
    names = arguments.names or sorted(path.parent.name for path in HERE.glob("*/case.toml"))
    unknown = [name for name in names if not (HERE / name / "case.toml").exists()]
    if unknown:
        print(f"no such case: {', '.join(unknown)}", file=sys.stderr)
        return 2
    work = Path(tempfile.mkdtemp(prefix="replat-schemas-", dir=arguments.work))
    work.chmod(0o755)
    cache = arguments.cache
    cache.mkdir(parents=True, exist_ok=True)
    servers: list[Server] = []
    outcomes = []
    try:
        for name in ("blue", "green"):
            servers.append(Server.start(name, work))
        for name in names:
            print(f"== {name}", file=sys.stderr, flush=True)
            journey = Journey(Case(HERE / name), *servers, arguments.replat, work, cache)
            outcomes.append(journey.go())
            if outcomes[-1].empty:
                print(f"   no rows in {', '.join(outcomes[-1].empty)}", file=sys.stderr, flush=True)
            for problem in outcomes[-1].problems:
                print(f"   {problem}", file=sys.stderr, flush=True)
    finally:
        for server in servers:
            server.stop()
    failed = [outcome for outcome in outcomes if outcome.problems]
    _table(outcomes)
    if failed or arguments.keep:
        print(f"\nlogs, specs and DDL: {work}", file=sys.stderr)
    else:
        shutil.rmtree(work, ignore_errors=True)
    print(f"\n{len(outcomes) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./x schemas", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a directory beside this program; all by default"
    )
    parser.add_argument("--replat", type=lambda text: Path(text).resolve(), required=True, help="the program")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "replat-schemas-cache",
        help="where fetched packages are kept",
    )
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()), help="where servers and logs are"
    )
    parser.add_argument("--keep", action="store_true", help="keep the logs, also if all is well")
    return parser.parse_args()


def _table(outcomes: list[Outcome]) -> None:
    rows = [
        (
            "schema",
            "from",
            "tables",
            "end",
            "as expected",
            "writes",
            "seconds",
            "empty",
            "found at first",
            "warnings",
        )
    ]
    for o in outcomes:
        rows.append(
            (
                o.name,
                o.source,
                str(o.tables),
                o.end,
                "no" if o.problems else "yes",
                str(o.writes),
                f"{o.seconds:.0f}",
                str(len(o.empty)),
                " ".join(o.findings) or "-",
                " ".join(o.warnings) or "-",
            )
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
