"""A writer of the demo by SQLAlchemy: it names a tenant, never a server, and goes by replat's own registry.

Each line on standard output is what became of one transaction, as JSON. `still` on standard input has it stand still
until `go`; at the end of standard input it stops.
"""

import json
import sys
import threading
import time
import uuid

from sqlalchemy import text
from replat_sqlalchemy import Login, Router

registry, tenant, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
INSERT = text(
    "INSERT INTO events (tenant_id, op_id, kind, body) VALUES (:tenant, :op, 'sqlalchemy', '{\"live\": true}')"
)
asked: list[str] = []
changed = threading.Condition()


def listen() -> None:
    for line in sys.stdin:
        with changed:
            asked.append(line.strip())
            changed.notify()
    with changed:
        asked.append("stop")
        changed.notify()


def now() -> int:
    return time.time_ns() // 1000


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def write(router: Router) -> None:
    op, began, runs, where = str(uuid.uuid4()), now(), 0, ("", 0)

    def work(session) -> None:  # type: ignore[no-untyped-def]
        nonlocal runs, where
        runs += 1
        session.execute(INSERT, {"tenant": tenant, "op": op})
        where = (session.execute(text("SELECT current_schema()")).scalar_one(), session.route.epoch)

    outcome, why = "acknowledged", None
    try:
        router.run(tenant, work, retries=5)
    except Exception as error:  # Whatever it is, the report tells it.
        outcome = "unknown" if type(error).__name__ == "OutcomeUnknown" else "given_up"
        why = f"{type(error).__name__}: {error}"
    say(op=op, began=began, ended=now(), runs=runs, schema=where[0], epoch=int(where[1]), outcome=outcome, why=why)


def main() -> None:
    threading.Thread(target=listen, daemon=True).start()
    with Router.from_url(f"file:{registry}", project="saas", context="saas", login=Login(user="postgres")) as router:
        router.run(tenant, lambda session: session.execute(text("SELECT 1")))
        say(ready=True)
        due = time.monotonic()
        while True:
            due = max(due + 1 / rate, time.monotonic())
            with changed:
                while not asked and (left := due - time.monotonic()) > 0:
                    changed.wait(left)
                order = asked.pop(0) if asked else ""
                if order == "still":
                    from_, _ = now(), say(still=True)
                    while not asked:
                        changed.wait()
                    order = asked.pop(0)
                    say(rested=[from_, now()])
            if order == "stop":
                return
            write(router)


main()
