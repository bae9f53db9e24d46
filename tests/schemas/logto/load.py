"""Puts the package's tables together as its own installer does: by their `init_order`, each followed by
`_after_each.sql` unless it says `no_after_each`. Rows for three tenants come from `rows.sql`."""

import re
import sys
from pathlib import Path

TENANTS = "lib/models/tenants.js"
FILL = {"database": "schemas", "password": "not-secret"}


def filled(text: str, **more: str) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: {**FILL, **more}[found.group(1)], text)


def order(text: str) -> float:
    found = re.search(r"/\* init_order = ([\d.]+) \*/", text)
    return float(found.group(1)) if found else float("inf")


package = Path(sys.argv[1]) / "package"
tables = package / "tables"
life = {name: (tables / f"_{name}.sql").read_text() for name in ("before_all", "after_all", "after_each")}
print("DROP ROLE IF EXISTS logto_tenant_schemas;")
print(filled(life["before_all"]))
model = re.search(r"`(\s*/\* init_order.*?)`", (package / TENANTS).read_text(), re.S).group(1)
files = {"tenants": model.replace("${TenantTag.Development}", "development")}
for path in sorted(tables.glob("*.sql")):
    if not path.name.startswith("_") or path.name == "_functions.sql":
        files[path.stem] = path.read_text()
for name, text in sorted(files.items(), key=lambda item: (order(item[1]), item[0])):
    print(text + "\n;")
    if "no_after_each" not in text and not name.startswith("_"):
        print(filled(life["after_each"], name=name))
print("GRANT logto_tenant_schemas TO postgres;")
