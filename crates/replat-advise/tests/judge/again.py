"""A recorded workload once more: less of it, another part of it, or in disguise; and what is advised then.

Each function takes the program and a workload's folder, makes a folder of other evidence of the same system, runs the
program on it as people do, and judges the answer by the whole workload. They are plain functions of plain values, so that
they can run in several processes at once.
"""
import functools, gzip, json, os, random, re, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import evaluate, score

# A trace is cut into so many blocks where parts of it are drawn; transactions of one block stay together.
BLOCKS = 40


def read(path):
    if os.path.exists(path):
        with open(path) as file:
            return json.load(file)
    return None


def advise(program, what, evidence, out, more=()):
    """Runs the program; gives its exit code, seconds of the wall and of the processor, MiB and what it said."""
    begun = time.monotonic()
    command = [program, "advise", what, "--evidence", evidence, "--out", out, "--json", *more]
    with tempfile.TemporaryFile() as wrong:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=wrong)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begun
        wrong.seek(0)
        computed = used.ru_utime + used.ru_stime
        return child.returncode, seconds, computed, used.ru_maxrss / 1024, wrong.read().decode(errors="replace")


@functools.lru_cache(maxsize=1)
def recorded(folder):
    """The lines of its trace, and the same as the judge wants them: workload, transactions, statistics."""
    with gzip.open(os.path.join(folder, "trace.jsonl.gz"), "rt") as file:
        lines = file.read().splitlines()
    workload, stats = (read(os.path.join(folder, name)) for name in ("workload.json", "stats.json"))
    return lines, workload, [json.loads(line) for line in lines], stats


def write(folder, name, lines):
    with open(os.path.join(folder, name), "w") as file:
        file.write("\n".join(lines) + "\n")


def asked(program, files):
    """What is advised on evidence of these files, by the names of the files of the answer; empty if it failed."""
    with tempfile.TemporaryDirectory() as evidence, tempfile.TemporaryDirectory() as out:
        for name, content in files.items():
            write(evidence, name, content if isinstance(content, list) else [content])
        code, _, _, _, said = advise(program, "keys", evidence, out)
        if code:
            return {"said": (said.strip().splitlines() or ["exit %d" % code])[0]}
        names = ("design", "verdict", "predicted", "contexts", "report")
        return {name: read(os.path.join(out, name + ".json")) for name in names}


def whole(folder, lines):
    """Files of the workload with these transactions."""
    files = {"trace.jsonl": lines}
    for name in ("workload.json", "stats.json"):
        with open(os.path.join(folder, name)) as file:
            files[name] = file.read()
    return files


def measured(folder, design, chosen=None):
    """What a design costs on these transactions, by their places, or on all; None if the judge does not know its columns."""
    _, workload, trace, stats = recorded(folder)
    try:
        return evaluate.measure(workload, design, trace if chosen is None else [trace[n] for n in chosen], stats)
    except SystemExit:
        return None


def sampled(program, folder, form, size, seed):
    """The cost, on the whole trace, of the design from `size` transactions drawn at random: with all of their rows
    (`rows`), or as a server's log has them, beside its counters and its write-ahead log (`log`)."""
    dice = random.Random(seed)
    if form == "rows":
        lines = recorded(folder)[0]
        files = whole(folder, [lines[n] for n in sorted(dice.sample(range(len(lines)), min(size, len(lines))))])
    else:
        files = {}
        for name in ("schema.sql", "stats.json", "evidence/pg_stat_statements.csv"):
            with open(os.path.join(folder, name)) as file:
                files[os.path.basename(name)] = file.read()
        with gzip.open(os.path.join(folder, "evidence/wal.jsonl.gz"), "rt") as file:
            files["wal.jsonl"] = file.read()
        with gzip.open(os.path.join(folder, "evidence/log.jsonl.gz"), "rt") as file:
            lines = file.read().splitlines()
        runs = [json.loads(line)["vxid"] for line in lines]
        drawn = sorted(set(runs))
        drawn = set(dice.sample(drawn, min(size, len(drawn))))
        files["log.jsonl"] = [line for line, run in zip(lines, runs) if run in drawn]
    answer = asked(program, files)
    refused = (answer.get("verdict") or {}).get("verdict") == "do_not_partition"
    metrics = answer.get("design") and measured(folder, answer["design"])
    return {"refused": refused, "J": metrics and metrics["J"], "said": answer.get("said")}


def halved(program, folder, split):
    """What was forecast from one half of the trace, and what its design then costs on the other. Halves are the first and
    the second, or every other block, either way round."""
    lines = recorded(folder)[0]
    block = max(1, len(lines) // BLOCKS)

    def is_seen(n):
        if split < 2:
            return (n < len(lines) // 2) == (split == 0)
        return (n // block + split) % 2 == 0
    answer = asked(program, whole(folder, [line for n, line in enumerate(lines) if is_seen(n)]))
    if not answer.get("design") or not answer.get("predicted"):
        return {"said": answer.get("said") or "no design"}
    metrics = measured(folder, answer["design"], [n for n in range(len(lines)) if not is_seen(n)])
    low, high = answer["predicted"]["interval"]
    return {"value": answer["predicted"]["cross_partition_share"], "low": low, "high": high,
            "got": metrics and metrics["cross_partition_share"]}


def grouped(program, folder, seed):
    """The contexts from a draw of the trace's blocks, with repetition, or from all of it; seed 0 is all of it."""
    lines = recorded(folder)[0]
    chosen = list(range(len(lines)))
    if seed:
        dice, block = random.Random(seed), max(1, len(lines) // BLOCKS)
        begins = sorted(dice.randrange(len(lines)) for _ in range(BLOCKS))
        chosen = [(begin + n) % len(lines) for begin in begins for n in range(block)]
    answer = asked(program, whole(folder, [lines[n] for n in chosen]))
    return {"contexts": (answer.get("contexts") or {}).get("contexts"), "said": answer.get("said")}


def alike(one, other):
    """How alike two groupings of tables are: their adjusted Rand index."""
    return score.pair_scores(one, other, set())["ARI"]


DISGUISES = ("renamed", "reordered", "doubled", "without foreign keys", "all of these")


def disguised(program, folder, disguise):
    """What the system is advised under another name, back under its own: how each table is placed that somebody touched,
    its contexts, and the verdict. No disguise is the system as it is."""
    lines, workload, trace, _ = recorded(folder)
    files = whole(folder, lines)
    is_on = lambda one: disguise in (one, DISGUISES[-1])
    back = {}
    if is_on("renamed") or is_on("reordered"):
        # Tables stand in the order of their names.
        tables = sorted(workload["tables"])
        orders = tables[::-1] if is_on("reordered") else tables
        back = {"t%03d_%s" % (n, scrambled(name)): name for n, name in enumerate(orders)}
        if not is_on("renamed"):
            back = {"t%03d_%s" % (n, name): name for n, name in enumerate(orders)}
        there = {old: new for new, old in back.items()}
        if is_on("renamed"):
            columns = {c for t in workload["tables"].values() for c in [*t["columns"], *t["key_columns"]]}
            there.update({c: "c_" + scrambled(c) for c in columns if c not in there})
            back.update({new: old for old, new in there.items()})
        files["workload.json"] = json.dumps(renamed(workload, there))
        with open(os.path.join(folder, "stats.json")) as file:
            files["stats.json"] = json.dumps({there[table]: stats for table, stats in json.load(file).items()})
    if is_on("doubled"):
        length = trace[-1]["t"] - trace[0]["t"]
        files["trace.jsonl"] = lines + [json.dumps({**line, "t": line["t"] + length}) for line in trace]
    if is_on("without foreign keys"):
        described = json.loads(files["workload.json"])
        for table in described["tables"].values():
            table["fks"] = []
            table.pop("derived_columns", None)
        files["workload.json"] = json.dumps(described)
    answer = asked(program, files)
    if answer.get("said"):
        return {"said": answer["said"]}
    name = lambda word: back.get(word, word)
    statements = {statement["id"]: statement for statement in workload["statements"]}
    touched = {touch["table"] for line in trace for run in line["s"] for touch in statements[run[0]]["touch"]}
    placing = {}
    for table in answer["report"]["tables"]:
        by = table["placing"]
        if name(table["table"]) in touched:
            placing[name(table["table"])] = "by " + name(by["by"]) if isinstance(by, dict) else by
    groups = (answer["contexts"] or {}).get("contexts", {}).values()
    groups = [sorted(name(table) for table in group if name(table) in touched) for group in groups]
    return {"placing": placing, "contexts": sorted(group for group in groups if group),
            "verdict": (answer["verdict"] or {}).get("verdict")}


def scrambled(word):
    return word[::-1]


def renamed(workload, names):
    """The same workload with other names of tables and columns; words of statements too."""
    name = lambda word: names.get(word, word)
    every = lambda words: {name(word): value for word, value in words.items()}
    text = lambda sql: re.sub(r"[A-Za-z_][A-Za-z_0-9]*", lambda word: name(word.group()), sql)
    tables = {}
    for table, seen in workload["tables"].items():
        new = dict(seen, pk=[name(c) for c in seen["pk"]], columns=every(seen["columns"]),
                   key_columns=[name(c) for c in seen["key_columns"]],
                   fks=[[[name(c) for c in own], name(to), [name(c) for c in theirs]] for own, to, theirs in seen["fks"]])
        if "derived_columns" in seen:
            new["derived_columns"] = {name(c): [name(word) for word in way] for c, way in seen["derived_columns"].items()}
        tables[name(table)] = new
    statements = [dict(s, sql=text(s["sql"]), joins=[[[name(a), name(b)] for a, b in join] for join in s["joins"]],
                       touch=[dict(t, table=name(t["table"]), eq=every(t["eq"]), range=every(t["range"]), **{"in": every(t["in"])})
                              for t in s["touch"]]) for s in workload["statements"]]
    more = {}
    if "constraints" in workload:
        more["constraints"] = {kind: {key: name(value) if isinstance(value, str) and key != "note" else value
                                      for key, value in said.items()} for kind, said in workload["constraints"].items()}
    if "services" in workload:
        more["services"] = {service: [name(t) for t in tables_] for service, tables_ in workload["services"].items()}
    return {**workload, "tables": tables, "statements": statements, **more}
