"""The same signals and outcomes by loops over rows, straight from their definitions."""

from itertools import combinations
from math import sqrt

from .simulate import Run


def mean(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values) if values else None


def least(values):
    return min((v for v in values if v is not None), default=None)


def most(values):
    return max((v for v in values if v is not None), default=None)


def minus(a, b):
    return None if a is None or b is None else a - b


def find_pair(run: Run, t, kind, i, j, layer):
    """The stored comparison of i and j that holds at step t."""
    for row in run.rows["pairs"]:
        if row["kind"] != kind or row["layer"] != layer or {row["object_i"], row["object_j"]} != {i, j}:
            continue
        if row["step"] == t or (kind == "active" and "state" not in (i, j)):
            return row
    raise LookupError((t, kind, i, j, layer))


def in_basis(run: Run, row, q):
    """A pair's conflict in a union basis of q columns: lambda * I on what the basis adds."""
    if row.get("conflict") is None:
        return None
    added = run.lam * (q - row["union_rank"])
    return row["bures_sq"] / ((row["trace_i"] + added) + (row["trace_j"] + added) + run.lam)


def geometry(run: Run, t, layers):
    columns = {name: [] for name in ("as", "ac", "ss", "sc", "ga", "gs", "lam")}
    for layer in (layer["layer"] for layer in layers):
        (union,) = [u for u in run.rows["unions"] if u["step"] == t and u["layer"] == layer]
        active = run.active(t)
        actives = [find_pair(run, t, "active", i, j, layer) for i, j in combinations(active, 2)]
        states = [find_pair(run, t, "state", "state", j, layer) for j in active]
        columns["as"] += [row.get("sar") for row in actives]
        columns["ac"] += [row.get("conflict") for row in actives]
        columns["ss"] += [row.get("sar") for row in states]
        columns["sc"] += [row.get("conflict") for row in states]
        columns["ga"] += [in_basis(run, row, union["active_rank"]) for row in actives]
        columns["gs"] += [in_basis(run, row, union["state_rank"]) for row in actives + states]
        columns["lam"] += [row.get("lambda_share") for row in actives + states]
    found = {
        "active_sar": mean(columns["as"]),
        "active_conflict": mean(columns["ac"]),
        "state_sar": mean(columns["ss"]),
        "state_conflict": mean(columns["sc"]),
        "global_active_conflict": mean(columns["ga"]),
        "global_state_conflict": mean(columns["gs"]),
        "lambda_share_mean": mean(columns["lam"]),
        "lambda_share_max": most(columns["lam"]),
        "undefined_share": mean([float(c is None) for c in columns["ac"] + columns["sc"]]),
    }
    found["state_gap"] = minus(found["state_conflict"], found["active_conflict"])
    found["global_gap"] = minus(found["global_state_conflict"], found["global_active_conflict"])
    return found


def norms(run: Run, t, layers):
    names = [layer["layer"] for layer in layers]
    rows = [row for row in run.rows["updates"] if row["step"] == t and row["layer"] in names]
    states = [row for row in rows if row["object"] == "state"]
    floors = [row for row in rows if row["rounding_floor"] is not None]
    return {
        "update_norm": sqrt(sum(row["increment_norm"] ** 2 for row in states)),
        "update_norm_sum": sum(row["increment_norm"] for row in states),
        "state_norm": sqrt(sum(row["norm"] ** 2 for row in states)),
        "state_norm_sum": sum(row["norm"] for row in states),
        "floor_share": mean([float(row["norm"] <= row["rounding_floor"]) for row in floors]),
        "energy_kept": mean([row["energy_kept"] for row in rows]),
    }


def gradients(run: Run, t, layers, tasks=None):
    names = [layer["layer"] for layer in layers]
    rows = [r for r in run.rows.get("gradients", []) if r["step"] == t and r["layer"] in names]
    if tasks is not None:
        rows = [r for r in rows if {r["task_i"], r["task_j"]} == set(tasks)]
    cosines = [row["cos"] for row in rows]
    return {
        "mean_grad_cos": mean(cosines),
        "min_grad_cos": least(cosines),
        "neg_grad_ratio": mean([None if c is None else float(c < 0) for c in cosines]),
        "grad_reliability": mean([mean([r["reliability_i"], r["reliability_j"]]) for r in rows]),
    }


def signals(run: Run, t, layers):
    return {**geometry(run, t, layers), **norms(run, t, layers), **gradients(run, t, layers)}


def score(run: Run, t, task):
    found = [row["score"] for row in run.rows["scores"] if row["step"] == t and row["task"] == task]
    return found[0] if found else None


def forgetting(run: Run, t, task):
    return minus(score(run, t, task), most([score(run, k, task) for k in range(1, t)]))


def overall(run: Run, t):
    given = score(run, t, "overall")
    if given is not None:
        return given, "scored"
    tasks = [row["score"] for row in run.rows["scores"] if row["step"] == t]
    return mean(tasks), ("mean" if tasks else None)


def outcomes(run: Run, t):
    old = run.tasks[: t - 1]
    lost = [forgetting(run, t, task) for task in old]
    value, source = overall(run, t)
    return {
        "current": score(run, t, run.tasks[t - 1]),
        "overall": value,
        "overall_source": source,
        "old_mean": mean([score(run, t, task) for task in old]),
        "old_min": least([score(run, t, task) for task in old]),
        "worst_drop": least([minus(score(run, t, task), score(run, t - 1, task)) for task in old]),
        "forgetting": mean(lost),
        "retention_loss": mean([None if f is None else max(0.0, -f) for f in lost]),
        "n_old": len(old),
        "n_old_scored": sum(score(run, t, task) is not None for task in old),
    }


def over_run(run: Run):
    last, tasks = run.steps, list(enumerate(run.tasks, start=1))
    final = outcomes(run, last)
    final["final_overall"] = final.pop("overall")
    del final["n_old"], final["n_old_scored"]
    return {
        **final,
        "n_steps": last,
        "OP": mean([score(run, last, task) for _, task in tasks]),
        "BWT": mean([minus(score(run, last, task), score(run, t, task)) for t, task in tasks if t < last]),
        "FWT": mean([minus(score(run, t - 1, task), score(run, 0, task)) for t, task in tasks if t > 1]),
        "n_tasks": len(tasks),
        "n_final_scored": sum(score(run, last, task) is not None for _, task in tasks),
    }


def pair(run: Run, t, old_step):
    new, old = run.tasks[t - 1], run.tasks[old_step - 1]
    both = {f"task:{new}", f"task:{old}"} <= set(run.active(t))
    found = dict.fromkeys(("mean_sar", "max_sar", "mean_conflict", "max_conflict"))
    cosines = dict.fromkeys(("mean_grad_cos", "min_grad_cos", "neg_grad_ratio"))
    if both:
        layers = [layer["layer"] for layer in run.layers]
        rows = [find_pair(run, t, "active", f"task:{new}", f"task:{old}", layer) for layer in layers]
        for name in ("sar", "conflict"):
            found[f"mean_{name}"] = mean([row.get(name) for row in rows])
            found[f"max_{name}"] = most([row.get(name) for row in rows])
        cosines = gradients(run, t, run.layers, (new, old))
        del cosines["grad_reliability"]
    return {
        **found,
        **cosines,
        "in_memory": both,
        "age": t - old_step,
        "score": score(run, t, old),
        "drop": minus(score(run, t, old), score(run, t - 1, old)),
        "forgetting": forgetting(run, t, old),
    }
