"""The package's migrations in their order, with the schema's name put in as its own runner does it."""

import sys
from pathlib import Path

print("CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public; CREATE SCHEMA graphile_worker;")
for path in sorted((Path(sys.argv[1]) / "package" / "sql").glob("0*.sql")):
    text = path.read_text().replace(":GRAPHILE_WORKER_SCHEMA", '"graphile_worker"')
    print(f"BEGIN;\n{text}\n;COMMIT;")
