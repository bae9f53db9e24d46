"""pgbench makes its own tables and rows, with foreign keys."""

import glob
import os
import subprocess

directory = os.environ.get("REPLAT_PG_BIN") or sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
subprocess.run(
    [f"{directory}/pgbench", "-i", "-q", "-s", "4", "--foreign-keys"], check=True, capture_output=True
)
