"""Writes this folder with geodiag 0.1.0 (commit fefdb73): `PYTHONPATH=<a checkout of it> python write.py FOLDER`.

Two runs of tiny Qwen3 models. `experts`: three steps on disk of which two are stored, geometry alone, probes at hand.
`increments`: three steps, geometry and gradients. `extended.yaml` names every step on disk.
The times of all files are set to TIME, since a fingerprint of 0.1.0 holds them; a test sets them again.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

import geodiag
from tests.extraction.gradient_runs import PROBES, tiny_model, tokenizer, write_probes

HERE = Path(sys.argv[1])
TIME = 1_700_000_000
TASKS = ("alpha", "beta", "gamma")


def save(seed: int, folder: Path) -> None:
    tiny_model(seed, blocks=1, width=16, head=8).to(torch.bfloat16).save_pretrained(folder)


def write_run(name: str, *, experts: bool, stored: int) -> None:
    folder, first = HERE / "runs" / name, 10 if experts else 0
    save(first, folder / "base")
    tokenizer().save_pretrained(folder / "base")
    write_probes(folder / "probes.jsonl", PROBES)
    steps, scores = [], ["step,task,score", *(f"0,{task},0.1" for task in TASKS)]
    for n, task in enumerate(TASKS, start=1):
        save(first + n, folder / f"state_{n}")
        steps.append({"task": task, "state": f"state_{n}"})
        if experts:
            save(first + 3 + n, folder / f"expert_{n}")
            steps[-1]["expert"] = f"expert_{n}"
        scores += [f"{n},{old},{0.9 - 0.2 * (n - k):.1f}" for k, old in enumerate(TASKS[:n], start=1)]
    manifest = {"run": name, "size": "10K", "method": "Seq. SFT", "seed": 0, "base": "base"}
    manifest |= {"updates": "experts" if experts else "increments", "probes": "probes.jsonl"}
    for name, last in (("run", stored), ("extended", 3)):
        manifest["scores"] = f"{name}_scores.csv"
        (folder / f"{name}.yaml").write_text(json.dumps({**manifest, "steps": steps[:last]}, indent=1) + "\n")
        (folder / manifest["scores"]).write_text("\n".join(scores[: 4 + sum(range(1, last + 1))]) + "\n")


if __name__ == "__main__":
    write_run("experts", experts=True, stored=2)
    write_run("increments", experts=False, stored=3)
    for path in (HERE / "runs").rglob("*"):
        os.utime(path, (TIME, TIME))
    store = HERE / "store"
    geodiag.extract(HERE / "runs" / "experts", store=store, device="cpu", rank=8, strict=True)
    geodiag.extract(HERE / "runs" / "increments", store=store, device="cpu", rank=8, gradients=True, strict=True)
