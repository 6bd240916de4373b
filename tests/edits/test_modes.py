"""Modes of a run against predictions of the three models by plain forward passes."""

from __future__ import annotations

import shutil

import pytest
import torch
from transformers import Qwen3ForCausalLM

from geodiag.extraction.measurements.modes.fit import example_mixture, fit_modes
from geodiag.store import StoreReader
from tests.edits.runs import PROBES, measure
from tests.extraction.gradient_runs import byte_ids


def test_rows_are_the_fit_of_whole_distributions(run, start, tmp_path):
    shutil.copytree(start, tmp_path / "s")
    assert measure(run, tmp_path / "s", "modes").detail == "modes of 1 old task at steps"
    (row,) = StoreReader(tmp_path / "s").scan("modes").collect().iter_rows(named=True)
    models = [Qwen3ForCausalLM.from_pretrained(run / name).eval() for name in ("state_1", "expert_2", "state_2")]
    mixtures = []
    for task, prompt, target in PROBES:
        if task == "alpha":
            ids, n = torch.tensor([byte_ids(prompt + target)]), len(target)
            with torch.no_grad():
                logs = [model(input_ids=ids).logits[0, -n - 1 : -1].double().log_softmax(-1) for model in models]
            mixtures.append(example_mixture(*logs, ids[0, -n:]))
    fit = fit_modes(mixtures)
    for name in ("explained", "residual_kl", "kl_old", "bc_old_new"):
        assert row[name] == pytest.approx(getattr(fit, name), abs=1e-5)
    assert (row["status"], row["beta_first"]) == (fit.status, fit.beta_first)
    assert row["beta"] == (fit.beta if fit.is_defined else None)
    assert measure(run, tmp_path / "s", "modes").detail == "modes unchanged"
