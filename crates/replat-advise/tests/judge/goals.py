"""The goals of advice, each with what was reached, from what `bench.py` has measured."""
import statistics

# So many transactions are drawn for goal 2, and so many for what is hoped for beyond it.
SAMPLE, SMALL_SAMPLE = 200, 50

# More than this above the reference is a worse design.
WORSE = .03


def share(part, whole):
    return "%d of %d" % (part, whole)


def named(pairs):
    return ", ".join("%s %s" % (name, value) for name, value in sorted(pairs.items()))


def near(rows, form, size):
    """Of designs from so few transactions, how many cost within .03 of the reference, and of what all of them give."""
    runs = [(row, run) for row in rows for run in row["again"].get("sampled %s %d" % (form, size), ())]
    if not runs:
        return None
    good = lambda row, run, cost: run["refused"] if row["wanted"] == "do_not_partition" else (
        run["J"] is not None and cost is not None and run["J"] <= cost + WORSE)
    reference = [good(row, run, row["reference"]) for row, run in runs]
    best = [good(row, run, row["J"]) for row, run in runs]
    missed = sorted({row["workload"] for (row, _), is_good in zip(runs, reference) if not is_good})
    return sum(reference), sum(best), len(runs), missed


def regret(rows):
    regrets = [r["regret"] for r in rows if r["regret"] is not None and r["wanted"] != "do_not_partition"]
    if not regrets:
        return None
    return ("%s within .02, worst %+.4f, mean %+.4f" % (
        share(sum(v <= .02 for v in regrets), len(regrets)), max(regrets), statistics.mean(regrets)), max(regrets) <= .02)


def evidence_needed(rows):
    of_rows, of_log, small = near(rows, "rows", SAMPLE), near(rows, "log", SAMPLE), near(rows, "log", SMALL_SAMPLE)
    if not of_rows:
        return None
    said = []
    for what, found in (("%d with their rows" % SAMPLE, of_rows), ("%d of the log, beside the WAL" % SAMPLE, of_log),
                        ("%d of the log, beside the WAL" % SMALL_SAMPLE, small)):
        if found:
            reference, best, runs, missed = found
            missed = " (missed: %s)" % ", ".join(missed) if missed else ""
            said.append("%s: %s of the reference%s, %d of what all gives" % (what, share(reference, runs), missed, best))
    return "; ".join(said), of_rows[0] >= .95 * of_rows[2]


def forecasts(rows):
    halves = [(row["workload"], half) for row in rows for half in row["again"].get("halved", ()) if half.get("got") is not None]
    if not halves:
        return None
    errors = sorted(abs(half["got"] - half["value"]) for _, half in halves)
    covered = [half["low"] - 1e-9 <= half["got"] <= half["high"] + 1e-9 for _, half in halves]
    missed = sorted({name for (name, _), hit in zip(halves, covered) if not hit})
    median, rate = statistics.median(errors), sum(covered) / len(covered)
    width = statistics.median((half["high"] - half["low"]) / 2 for _, half in halves)
    said = "error: median %.2f, worst %.2f points, %s within 1; %s intervals cover (%.0f %%; median half width %.2f points)%s" % (
        100 * median, 100 * errors[-1], share(sum(e <= .01 for e in errors), len(errors)), share(sum(covered), len(covered)),
        100 * rate, 100 * width, "; not: " + ", ".join(missed) if missed else "")
    return said, median <= .01 and rate >= .93


def speed(sizes):
    if not sizes:
        return None
    said = "; ".join("%d tables, %d transactions: %s" % (size["tables"], size["transactions"], (
        "%.2f s (%.2f s of processor), %.0f MiB" % (size["seconds"], size["cpu_seconds"], size["mib"]) if size["exit"] == 0 else "exit %d" % size["exit"])) for size in sizes)
    small = sizes[0]
    return said, small["exit"] == 0 and small["seconds"] <= 2 and small["mib"] <= 256


def communities(rows):
    crosses = [r["cross"] for r in rows if r["workload"] == "epinions" and r["cross"] is not None]
    return ("%.4f" % crosses[0], crosses[0] <= .10) if crosses else None


def skew(rows):
    limits = {"saas": 1.3, "auctionmark": 1.4}
    skews = {r["workload"]: r["skew"] for r in rows if r["workload"] in limits and r["skew"] is not None}
    return (named(skews), all(skews[name] <= limits[name] for name in skews)) if skews else None


def layout(rows):
    shares = {r["workload"]: round(r["scanned"] / r["greedy"], 3) for r in rows if r["scanned"] is not None and r["greedy"]}
    return (named(shares), all(v <= .95 for v in shares.values())) if shares else None


def contexts(rows):
    aris = {r["workload"]: r["ari"] for r in rows if r["ari"] is not None}
    return (named(aris), all(v >= .98 for v in aris.values())) if aris else None


def stability(rows):
    every = {r["workload"]: r["again"]["grouped"] for r in rows if r["again"].get("grouped")}
    if not every:
        return None
    values = [v for aris in every.values() for v in aris]
    worst = {name: "%.2f" % min(aris) for name, aris in every.items() if min(aris) < .8}
    return ("ARI of draws to the whole: median %.2f, worst %.2f, %s at least .80 (%d workloads)%s" % (
        statistics.median(values), min(values), share(sum(v >= .8 for v in values), len(values)), len(every),
        "; below: " + named(worst) if worst else ""), statistics.median(values) >= .8)


def refusals(rows):
    asked = {r["workload"] for r in rows if r["J"] is not None or r["wanted"]}
    refused = {r["workload"] for r in rows if r["verdict"] == "do_not_partition"} & asked
    wanted = {r["workload"] for r in rows if r["wanted"] == "do_not_partition"}
    green = [r for r in rows if r["greenfield"]]
    if not asked and not green:
        return None
    said = ", ".join("%s says %d things missing, plan %s" % (r["workload"], r["missing"], "ready" if r["ready"] else "not ready")
                     for r in green)
    return ("refused: %s; wanted: %s; greenfield: %s" % (
        ", ".join(sorted(refused)) or "none", ", ".join(sorted(wanted)) or "none", said or "none"),
        refused == wanted and all(r["ready"] is False and r["missing"] for r in green))


def drift(rows):
    found = {r["workload"]: r["changes"] for r in rows if r["changes"]}
    if not found:
        return None
    return (", ".join("%s %d/%d, %d false, delay %s" % (name, c["found"], c["of"], c["false_alarms"], delays(c))
                      for name, c in sorted(found.items())),
            all(c["found"] == c["of"] and not c["false_alarms"] and all(d <= .03 for d in c.get("delays", ()))
                for c in found.values()))


def delays(changes):
    return ", ".join("%.1f %%" % (100 * d) for d in changes.get("delays", ())) or "none"


def metamorphic(rows):
    every = [(row["workload"], disguise, same) for row in rows for disguise, same in row["again"].get("disguised", {}).items()]
    if not every:
        return None
    same = [all(it["same"].values()) for *_, it in every]
    differs = ["%s %s (%s)" % (name, disguise, ", ".join(what for what, is_same in it["same"].items() if not is_same))
               for (name, disguise, it), is_same in zip(every, same) if not is_same]
    return ("%s the same%s" % (share(sum(same), len(same)), "; not: " + "; ".join(differs) if differs else ""), all(same))


def overhead(cost):
    if not cost:
        return None
    cpu, rows = cost["cpu_beyond_cdc"], cost["log_bytes_per_transaction"]
    return ("server CPU %+.1f %% beyond CDC (%+.1f %% beyond nothing), %.0f bytes of log a transaction" % (
        100 * cpu, 100 * cost["cpu_beyond_nothing"], rows), cpu <= .03 and rows <= 100)


GOALS = (
    (1, "J regret", "all within .02, none worse than .03", regret),
    (2, "evidence needed", "J within .03 from 200 sampled transactions, 95 % of runs", evidence_needed),
    (3, "forecast of cross on the unseen half", "error <= 1.0 point (median), 95 % intervals cover 93-97 %", forecasts),
    (4, "run time and memory", "30 tables, 10,000 transactions: <= 2 s, <= 256 MiB", speed),
    (5, "Epinions, cross", "<= .10", communities),
    (6, "skew", "saas <= 1.3, auctionmark <= 1.4", skew),
    (7, "layout at 64 blocks, by greedy", "<= .95", layout),
    (8, "contexts, ARI", "planted >= .98, distmono 1.0", contexts),
    (9, "contexts, ARI of bootstrap draws", ">= .80 (median)", stability),
    (10, "refusals", "exactly what has no locality; greenfield without a ready plan", refusals),
    (11, "drift", "delay <= 3 % of the trace, no false alarm", drift),
    (12, "same advice in disguise", "all: names, order, twice the trace, no foreign keys", metamorphic),
    (13, "cost of evidence", "<= 3 % server CPU and <= 100 bytes a transaction beyond CDC", overhead),
)


def goals(rows, sizes, cost):
    """Each goal with what was reached; None where nothing was measured that tells."""
    every = []
    for number, goal, target, reach in GOALS:
        reached = reach({overhead: cost, speed: sizes}.get(reach, rows))
        text, kept = reached or (None, None)
        every.append({"goal": number, "what": goal, "target": target, "reached": text, "kept": kept})
    return every
