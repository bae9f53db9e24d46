#!/usr/bin/env python3
"""Advise on every workload with the program, and judge what it says by the tools beside this file.

usage: bench.py --program REPLAT [--capture-bench PROGRAM] [--data DIR] [--json] [--quick] [--large] [--runs N] [NAME...]

Prints a table by workload, beside naive designs, and a table of goals with what was reached. First each workload is advised
on alone, for time and memory (a process each; time is of the wall, memory the most it had resident). Then, on all cores, each
is advised on again with less evidence, with either half of it, drawn anew and in disguise. Then a server is started and the
cost of a capture measured. --quick leaves out all but the first.
"""
import argparse, concurrent.futures, json, os, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import again, large
from again import read
from goals import SAMPLE, SMALL_SAMPLE, goals

# How often transactions are drawn at random, with all their rows and out of the log, and how often blocks of the trace.
ROWS_RUNS, LOG_RUNS, DRAWS = 4, 1, 4


def judged(folder, out):
    done = subprocess.run([sys.executable, os.path.join(HERE, "score.py"), folder, out], capture_output=True, text=True)
    if done.returncode:
        return {"judge_failed": (done.stderr.strip().splitlines() or ["no word"])[-1]}
    return json.loads(done.stdout)


def what_is_asked(key):
    if "results" in key:
        return "layout"
    return "drift" if "changes" in key else "all"


def watched(program, folder, key, out):
    """Watches the design that is deployed in a workload about drift, which is its reference; gives exit code, seconds and
    what was said."""
    with tempfile.TemporaryDirectory() as other:
        deployed = os.path.join(other, "deployed.json")
        with open(deployed, "w") as file:
            json.dump(key["reference_design"], file)
        code, seconds, _, _, said = again.advise(program, "drift", folder, other, ["--design", deployed])
        if code == 0:
            os.replace(os.path.join(other, "changes.json"), os.path.join(out, "changes.json"))
    return code, seconds, said


def delays(key, out):
    """How long after each planted change it could be told from chance. Unit: share of the trace."""
    found = (read(os.path.join(out, "changes.json")) or {}).get("changes", [])
    limit = key.get("accept", {}).get("change_point_error_max", .03)
    hits = [[got["noticed"] - want["at"] for got in found if abs(got["at"] - want["at"]) <= limit] for want in key.get("changes", [])]
    return [round(min(hit), 4) for hit in hits if hit]


def bench(program, data, name, runs):
    """A workload's row: what was advised, what that is worth, and what it took."""
    folder = os.path.join(data, name)
    key = read(os.path.join(folder, "expected.json")) or {}
    asked = what_is_asked(key)
    drift_seconds = None
    with tempfile.TemporaryDirectory() as out:
        spent = []
        for _ in range(runs):
            code, *took, said = again.advise(program, "all" if asked == "drift" else asked, folder, out)
            spent.append(took)
        if asked == "drift" and code == 0:
            code, drift_seconds, said = watched(program, folder, key, out)
        score = judged(folder, out)
        if score.get("changes"):
            score["changes"]["delays"] = delays(key, out)
        verdict, predicted, report = (read(os.path.join(out, part + ".json")) or {} for part in ("verdict", "predicted", "report"))
    metrics, accept = score.get("metrics", {}), key.get("accept")
    baselines = key.get("baseline_metrics", {})
    return {
        "workload": name, "exit": code, "said": said.strip().splitlines()[:1] if code else None,
        "judge_failed": score.get("judge_failed"), "seconds": round(statistics.median(s for s, _, _ in spent), 3),
        "cpu_seconds": round(statistics.median(c for _, c, _ in spent), 3),
        "drift_seconds": drift_seconds and round(drift_seconds, 3), "mib": round(max(m for _, _, m in spent), 1),
        "verdict": verdict.get("verdict"), "wanted": accept.get("verdict") if isinstance(accept, dict) else None,
        "J": metrics.get("J"), "reference": key.get("reference_metrics", {}).get("J"), "regret": score.get("J_regret"),
        "cross": metrics.get("cross_partition_share"), "expected": predicted.get("cross_partition_share"),
        "interval": predicted.get("interval"), "skew": metrics.get("load_max_over_mean"),
        "ari": score.get("contexts", {}).get("ARI"), "changes": score.get("changes"), "scanned": score.get("scanned_share"),
        "greedy": key.get("results", {}).get("64", {}).get("greedy_predicate_tree"),
        "limits": score.get("limits"), "passed": score.get("pass"), "confidence": report.get("confidence"),
        "floor": (report.get("floor") or {}).get("share"), "missing": len(report.get("missing", [])),
        "ready": (report.get("plan") or {}).get("ready"), "greenfield": "must_state_missing" in key,
        "baselines": {n: m["J"] for n, m in baselines.items() if isinstance(m, dict) and m.get("J") is not None},
        "contexts": report.get("context_names"), "again": {},
    }


def jobs(program, data, row):
    """What is asked of a workload once more: of each, what it is called and the call."""
    folder = os.path.join(data, row["workload"])
    if not os.path.exists(os.path.join(folder, "trace.jsonl.gz")):
        return
    is_steady = not row["changes"] or not row["changes"]["of"]
    if row["reference"] is not None and is_steady:
        for form, size, times in (("rows", SAMPLE, ROWS_RUNS), ("log", SAMPLE, LOG_RUNS), ("log", SMALL_SAMPLE, LOG_RUNS)):
            for seed in range(times):
                yield "sampled %s %d" % (form, size), (again.sampled, program, folder, form, size, seed)
        if row["wanted"] != "do_not_partition":
            for split in range(4):
                yield "halved", (again.halved, program, folder, split)
    if len(row["contexts"] or {}) > 1 and is_steady:
        for seed in range(1, DRAWS + 1):
            yield "grouped", (again.grouped, program, folder, seed)
    for disguise in (None, *again.DISGUISES):
        yield "disguised", (again.disguised, program, folder, disguise)


def once_more(program, data, rows):
    """Asks all of it, on all cores, and puts what came of it into the rows."""
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        asked = [(row, what, call, pool.submit(*call)) for row in rows if not row["exit"] for what, call in jobs(program, data, row)]
        for row, what, call, answer in asked:
            answer = answer.result()
            if answer.get("said"):
                row["judge_failed"] = "%s %s: %s" % (what, call[3:], answer["said"])
            elif what == "disguised":
                row["again"].setdefault(what, {})[call[3]] = answer
            else:
                row["again"].setdefault(what, []).append(answer)
    for row in rows:
        compare(row)


def compare(row):
    """Puts beside what was advised on draws and in disguise whether it is what was advised on the whole."""
    grouped = row["again"].pop("grouped", [])
    if grouped:
        row["again"]["grouped"] = [again.alike(row["contexts"], draw["contexts"]) for draw in grouped if draw["contexts"]]
    every = row["again"].pop("disguised", {})
    plain = every.pop(None, None)
    for it in every.values() if plain else ():
        it["same"] = {"verdict": it["verdict"] == plain["verdict"]}
        # Where nothing helps, it does not matter which of the designs helps least.
        if plain["verdict"] == "partition" and row["reference"] is not None:
            it["differs"] = {t: [by, it["placing"].get(t)] for t, by in plain["placing"].items() if it["placing"].get(t) != by}
            it["same"]["keys"] = not it["differs"]
        it["same"]["contexts"] = it["contexts"] == plain["contexts"]
        del it["placing"], it["contexts"]
    if every:
        row["again"]["disguised"] = every


def time_of_size(program, tables, transactions):
    """What it takes to advise on a generated workload of this size."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as out:
        large.generate(folder, tables, transactions)
        code, seconds, computed, mib, said = again.advise(program, "all", folder, out)
    return {"tables": tables, "transactions": transactions, "exit": code, "seconds": round(seconds, 2), "cpu_seconds": round(computed, 2),
            "mib": round(mib, 1),
            "said": said.strip().splitlines()[:1] if code else None}


def cost_of_capture(bench_program, program):
    """What a capture costs a server, as the benchmark of captures measures it; None if it cannot."""
    done = subprocess.run([bench_program, "--replat", program, "--json"], capture_output=True, text=True)
    if done.returncode:
        print("bench: no cost of a capture: %s" % (done.stderr.strip().splitlines() or ["no word"])[-1], file=sys.stderr)
        return None
    return json.loads(done.stdout)


def number(value, form="{:.4f}"):
    return "" if value is None else form.format(value)


def columns(lines):
    """Prints lines of cells, each column as wide as its widest cell."""
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def table(rows):
    lines = [["workload", "verdict", "J", "regret", "best naive", "cross", "interval", "skew", "ARI", "drift", "scanned", "s", "s CPU", "MiB",
              "limits"]]
    for row in rows:
        naive = min(row["baselines"].values(), default=None)
        interval = "" if not row["interval"] else "{:.3f}-{:.3f}".format(*row["interval"])
        drift = "" if not row["changes"] else "{found}/{of}, {false_alarms} false".format(**row["changes"])
        missed = [n for n, (_, _, kept) in (row["limits"] or {}).items() if not kept]
        limits = "missed: " + ", ".join(missed) if missed else ("kept" if row["limits"] else "")
        lines.append([row["workload"], row["verdict"] or ("" if row["exit"] == 0 else "exit %s" % row["exit"]), number(row["J"]),
                      number(row["regret"], "{:+.4f}"), number(naive), number(row["cross"]), interval,
                      number(row["skew"], "{:.3f}"), number(row["ari"], "{:.3f}"), drift, number(row["scanned"]),
                      number(row["seconds"], "{:.2f}"), number(row["cpu_seconds"], "{:.2f}"), number(row["mib"], "{:.0f}"), limits])
    columns(lines)


def table_of_goals(reached):
    lines = [["goal", "kept", "what", "target"]]
    said = {True: "yes", False: "NO", None: "-"}
    for goal in reached:
        lines.append([str(goal["goal"]), said[goal["kept"]], goal["what"], goal["target"]])
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    print("  ".join(cell.ljust(width) for cell, width in zip(lines[0], widths)) + "  reached")
    for line, goal in zip(lines[1:], reached):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)) + "  " + (goal["reached"] or "not measured"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True, help="replat")
    parser.add_argument("--capture-bench", help="replat-bench-capture; without it the cost of a capture is not measured")
    parser.add_argument("--data", default=os.path.join(HERE, os.pardir, "data"), help="a folder of workloads")
    parser.add_argument("--runs", type=int, default=1, help="how often each is advised on for its time; the median counts")
    parser.add_argument("--quick", action="store_true", help="each workload once, and nothing again")
    parser.add_argument("--large", action="store_true", help="time a generated workload of 1,000 tables and 1,000,000 transactions too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("names", nargs="*", help="workloads; all without")
    given = parser.parse_args()
    begun = time.monotonic()
    known = sorted(n for n in os.listdir(given.data) if os.path.exists(os.path.join(given.data, n, "expected.json")))
    names = given.names or known
    unknown = [n for n in names if n not in known]
    if unknown:
        sys.exit("bench: no workload %s; there are %s" % (", ".join(unknown), ", ".join(known)))
    tell = lambda what: print("… %s" % what, file=sys.stderr)
    rows = []
    for name in names:
        tell(name)
        rows.append(bench(given.program, given.data, name, given.runs))
    tell("time and memory for 30 tables and 10,000 transactions")
    sizes = [time_of_size(given.program, *size) for size in ([(30, 10_000)] + ([(1_000, 1_000_000)] if given.large else []))]
    cost = None
    if not given.quick:
        tell("all of them again: with less evidence, with halves of it, drawn anew and in disguise")
        once_more(given.program, given.data, rows)
        if given.capture_bench and not given.names:
            tell("the cost of a capture")
            cost = cost_of_capture(given.capture_bench, given.program)
    reached = goals(rows, sizes, cost)
    seconds = round(time.monotonic() - begun)
    failed = [r for r in rows if r["exit"] or r["judge_failed"]]
    if given.json:
        print(json.dumps({"workloads": rows, "goals": reached, "sizes": sizes, "capture": cost, "seconds": seconds}, indent=1))
    else:
        table(rows)
        print()
        table_of_goals(reached)
        print("\nmeasured in %d s" % seconds)
        for row in failed:
            print("%s: exit %s %s %s" % (row["workload"], row["exit"], row["said"] or "", row["judge_failed"] or ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
