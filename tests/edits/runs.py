"""A tiny run on disk whose second step forgets the first task, with probes of an untrained one."""

from __future__ import annotations

import torch

from geodiag.jobs import Work, extract_all
from tests.extraction.gradient_runs import byte_ids, tiny_model, tokenizer, write_manifest, write_probes

WORDS = {"alpha": "yes", "beta": "no", "skill": "on"}
PROBES = [
    (task, f"{'abcdefghijklmnopqrst'[n]}{task[0]}?", f" {word}") for task, word in WORDS.items() for n in range(20)
]


def train(model, task, *, steps, rate=5e-3):
    """Adam on all examples of a task at once."""
    rows = [byte_ids(prompt + target) for name, prompt, target in PROBES if name == task]
    ids, n = torch.tensor(rows), len(WORDS[task]) + 1
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        logits = model(input_ids=ids, use_cache=False).logits[:, -n - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, -n:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def write_run(folder, **keys):
    """States: random; alpha learnt; beta learnt on top, so that alpha is lost. Experts: each learnt from the base."""
    base = tiny_model(0, blocks=2, width=16, head=4)
    base.save_pretrained(folder / "state_0")
    train(base, "alpha", steps=30).save_pretrained(folder / "state_1")
    train(base, "beta", steps=30).save_pretrained(folder / "state_2")
    train(tiny_model(0, blocks=2, width=16, head=4), "beta", steps=30).save_pretrained(folder / "expert_2")
    tokenizer().save_pretrained(folder / "state_0")
    write_probes(folder / "probes.jsonl", PROBES)
    steps = [
        {"task": "Alpha", "state": "state_1", "expert": "state_1"},
        {"task": "beta", "state": "state_2", "expert": "expert_2"},
    ]
    return write_manifest(folder, steps=steps, updates="experts", **keys)


def measure(run, store, *names, progress=None, **more):
    work = Work(store=store, measured=names, device="cpu", strict=True, **more)
    return extract_all(run, work, progress=progress).outcomes[0]
