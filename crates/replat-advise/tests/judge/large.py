#!/usr/bin/env python3
"""Write a workload of any size: services of about ten tables, each with a tenant as its key, and transactions on them.

usage: large.py FOLDER [--tables N] [--transactions N] [--seed N]

Of the transactions three in a hundred touch a second tenant, and two in a hundred a table of another service. Half of the
tables carry the tenant; the others reach it over their parents. It is for time and memory: there is no answer key.
"""
import argparse, gzip, json, os, random

PER_SERVICE = 10


def workload(tables, partitions):
    """Tables in services; the first of a service has a row for each tenant, the others refer to one before them."""
    described, statements = {}, []

    def statement(table, op, by):
        columns = described[table]["columns"]
        sql = {"r": "SELECT * FROM %s WHERE %s = $1", "u": "UPDATE %s SET note = $2 WHERE %s = $1"}.get(op)
        if sql:
            eq, sql = {by: 1}, sql % (table, by)
        else:
            own = [c for c in columns if c != "note"]
            eq = {c: n + 1 for n, c in enumerate(own)}
            sql = "INSERT INTO %s (%s) VALUES (%s)" % (table, ", ".join(own), ", ".join("$%d" % n for n in eq.values()))
        statements.append({"id": len(statements), "name": "s%d" % len(statements), "sql": sql,
                           "touch": [{"table": table, "op": op, "eq": eq, "in": {}, "range": {}}], "joins": []})
        return len(statements) - 1
    services = []
    for first in range(0, tables, PER_SERVICE):
        service = []
        for place in range(min(PER_SERVICE, tables - first)):
            name = "s%d_t%d" % (first // PER_SERVICE, place)
            parent = service[(place - 1) // 2] if place else None
            own, derived, fks = ["id"], {}, []
            if place:
                own.append("parent_id")
                fks = [[["parent_id"], parent["name"], ["id"]]]
                if place % 2:
                    own.append("tenant_id")
                else:
                    derived = {"tenant_id": ["parent_id", parent["name"], "tenant_id"]}
            else:
                own.append("tenant_id")
            described[name] = {"pk": ["id"], "fks": fks, "columns": {**{c: "BIGINT" for c in own}, "note": "TEXT"},
                               "key_columns": own + list(derived)}
            if derived:
                described[name]["derived_columns"] = derived
            service.append({"name": name, "depth": 0 if not place else parent["depth"] + 1,
                            "does": {op: statement(name, op, "id") for op in "rui"}})
        services.append(service)
    return {"format": "advisor-workload/1", "name": "large", "partitions": partitions, "tables": described,
            "statements": statements, "transactions": []}, services


def row(table, dice, tenant):
    """A row of a tenant: its number, that of its parent, and the tenant; numbers tell whose they are."""
    number = tenant * 100 + dice.randrange(20)
    if table["depth"] == 0:
        return [tenant * 100, tenant]
    return [number, tenant * 100 + (0 if table["depth"] == 1 else number % 7), tenant]


def transactions(services, count, dice):
    """Lines of a trace. Service and tenant are drawn by their ranks, so that few have much."""
    tenants = 500
    kinds = [[dice.sample(range(len(service)), min(len(service), dice.randint(1, 4))) for _ in range(4)] for service in services]
    for number in range(count):
        which = int(len(services) * dice.random() ** 1.5)
        service, tenant = services[which], int(tenants * dice.random() ** 2) + 1
        kind = dice.randrange(4)
        steps = [(service[place], dice.choice("rrui")) for place in kinds[which][kind]]
        if dice.random() < .02:
            steps.append((dice.choice(dice.choice(services)), "r"))
        runs = []
        for place, (table, op) in enumerate(steps):
            own = dice.randint(1, tenants) if place and dice.random() < .03 else tenant
            touched = row(table, dice, own)
            runs.append([table["does"][op], touched[:1], [[touched]]])
        yield json.dumps({"t": round(number * .001, 3), "x": "k%d_%d" % (which, kind), "c": 1, "s": runs}, separators=(",", ":"))


def generate(folder, tables, count, seed=1):
    os.makedirs(folder, exist_ok=True)
    described, services = workload(tables, 16)
    with open(os.path.join(folder, "workload.json"), "w") as file:
        json.dump(described, file)
    with open(os.path.join(folder, "stats.json"), "w") as file:
        json.dump({name: {"rows": 100000, "row_bytes": 120} for name in described["tables"]}, file)
    with gzip.open(os.path.join(folder, "trace.jsonl.gz"), "wt", compresslevel=1) as file:
        for line in transactions(services, count, random.Random(seed)):
            file.write(line + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--tables", type=int, default=30)
    parser.add_argument("--transactions", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    generate(given.folder, given.tables, given.transactions, given.seed)


if __name__ == "__main__":
    main()
