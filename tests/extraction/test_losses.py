"""Losses and divergences against plain float64 loops without padding; restarts, growth, precision and cost."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import warnings
from functools import cache

import pytest
import torch
from transformers import AutoModelForCausalLM

from geodiag.common.schema import FAMILIES
from geodiag.errors import ProbesError
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.losses import Losses, LossOptions
from geodiag.extraction.measurements.losses import rows as loss_rows_module
from geodiag.extraction.run import prepare_run
from geodiag.jobs import Silent, Work, extract_all, parse_shard, plan_all
from geodiag.models.divergence import MOST_POSITIONS, position_divergence
from geodiag.runs import load_manifest
from geodiag.store import StoreReader
from tests.extraction.gradient_runs import PROBES, byte_ids, tiny_model, tokenizer, write_manifest, write_probes
from tests.models.states import save_adapter

LONG = ("beta", "a long answer?", "so " * 30)
GIVEN = [*PROBES, LONG]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three whole states of the base; the last one stored in parts that do not matter here."""
    folder = tmp_path_factory.mktemp("whole")
    for n in range(4):
        tiny_model(n, width=16).save_pretrained(folder / f"state_{n}")
    tokenizer().save_pretrained(folder / "state_0")
    write_probes(folder / "probes.jsonl", GIVEN)
    write_manifest(folder, steps=3)
    return folder


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """Two LoRA states of one base."""
    folder = tmp_path_factory.mktemp("adapted")
    base = tiny_model(0, width=16)
    base.save_pretrained(folder / "state_0")
    tokenizer().save_pretrained(folder / "state_0")
    for n in (1, 2):
        save_adapter(folder / f"state_{n}", tiny_model(0, width=16), n)
    write_probes(folder / "probes.jsonl", GIVEN)
    write_manifest(folder, steps=2)
    return folder


@cache
def model_at(folder, n):
    """A state's model in float64, loaded by transformers and PEFT alone."""
    path = folder / f"state_{n}"
    if (path / "adapter_config.json").is_file():
        from peft import PeftModel

        base = AutoModelForCausalLM.from_pretrained(folder / "state_0", dtype=torch.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft calls transformers by names of older releases
            return PeftModel.from_pretrained(base, path).eval()
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64).eval()


@torch.no_grad()
def log_probabilities(model, prompt, target):
    """(target tokens, vocabulary) in float64, of one text at a time."""
    ids = byte_ids(prompt + target)
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return logits[len(byte_ids(prompt)) - 1 : -1].log_softmax(-1)


def by_definition(folder, n, task):
    """Every column that a plain loop over the task's examples gives, and loss by example."""
    models = {k: model_at(folder, k) for k in {0, max(0, n - 1), n}}
    found = []
    for _, prompt, target in (probe for probe in GIVEN if probe[0] == task):
        now = log_probabilities(models[n], prompt, target)
        ids = torch.tensor(byte_ids(target))
        of_target = now.gather(1, ids[:, None])[:, 0]
        row = {
            "loss": -of_target.mean().item(),
            "exact": float((now.argmax(-1) == ids).all()),
            "token_accuracy": (now.argmax(-1) == ids).double().mean().item(),
            "entropy": -(now.exp() * now).sum(-1).mean().item(),
            "p_target": torch.exp(of_target.mean()).item(),
        }
        for name, k in (("prev", n - 1), ("base", 0)) if n else ():
            then = log_probabilities(models[k], prompt, target)
            p, q = then[:MOST_POSITIONS].exp(), now[:MOST_POSITIONS].exp()
            row[f"kl_{name}_fwd"] = (p * (p / q).log()).sum(-1).mean().item()
            row[f"kl_{name}_rev"] = (q * (q / p).log()).sum(-1).mean().item()
            row[f"bc_{name}"] = (p * q).sqrt().sum(-1).mean().item()
            if name == "prev":
                row["delta_loss"] = row["loss"] + then.gather(1, ids[:, None]).mean().item()
        found.append(row)
    return found


def mean_and_se(values):
    mean = sum(values) / len(values)
    return mean, (sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)) ** 0.5


def plan_of(folder, **options):
    memory = options.pop("memory", 2**30)
    run = prepare_run(load_manifest(folder), families=FAMILIES, device="cpu", memory=memory)
    return Losses().plan(run, LossOptions(**options), selection=GeometrySettings(), strict=True)


def rows_of(plan, parts=None):
    """Every row of some parts, in order, by table."""
    found = {"losses": [], "examples": []}
    for _, rows in plan.rows(plan.parts if parts is None else parts, say=lambda _: None):
        for table, some in rows.items():
            found[table] += some
    return found


def work(store, *measured, **more):
    settings = {"geometry": GeometrySettings(families=("k_proj",))}  # as little geometry as there can be
    chosen = measured or ("geometry", "losses")
    return Work(store=store, measured=chosen, settings=settings, device="cpu", strict=True, **more)


def stored(store, table="losses"):
    keys = ["step", "task", "example"] if table == "examples" else ["step", "task"]
    return StoreReader(store).scan(table).collect().sort(keys)


@pytest.mark.parametrize(("kind", "batch_tokens"), [("whole", 100), ("adapted", 2048)])
def test_every_number_is_that_of_a_plain_loop_in_float64(kind, batch_tokens, request):
    folder = request.getfixturevalue(kind)
    rows = rows_of(plan_of(folder, batch_tokens=batch_tokens))
    for row in rows["losses"]:
        by_example = by_definition(folder, row["step"], row["task"])
        assert (row["n_examples"], row["n_cut"]) == (len(by_example), 0)
        for name in by_example[0]:
            mean, se = mean_and_se([one[name] for one in by_example])
            assert row[name] == pytest.approx(mean, abs=1e-5), name
            if name in ("loss", "delta_loss"):
                assert row[f"{name}_se"] == pytest.approx(se, abs=1e-5)
        assert row["precision_floor"] == 0.0
        of_part = [e for e in rows["examples"] if (e["step"], e["task"]) == (row["step"], row["task"])]
        assert sorted(e["loss"] for e in of_part) == pytest.approx(sorted(e["loss"] for e in by_example), abs=1e-5)
        assert row["n_tokens"] == sum(len(byte_ids(t)) for task, _, t in GIVEN if task == row["task"])
    assert [(row["step"], row["task"]) for row in rows["losses"]] == [
        (n, task) for n in range(4 if kind == "whole" else 3) for task in ("alpha", "beta", "gamma")
    ]


def test_the_base_is_compared_with_nothing(whole):
    row = rows_of(plan_of(whole), ["state-0000 alpha"])["losses"][0]
    differences = ("delta_loss", "delta_loss_se", "kl_prev_fwd", "kl_prev_rev", "kl_base_fwd", "kl_base_rev")
    assert all(row[name] is None for name in (*differences, "bc_prev", "bc_base", "loss_end"))


def test_any_share_of_the_parts_gives_the_same_bits(whole):
    plan = plan_of(whole)
    everything = rows_of(plan)
    for take in (slice(1, None, 3), slice(-1, None), slice(5, 9)):
        some = rows_of(plan, plan.parts[take])
        for table, rows in some.items():
            assert all(row in everything[table] for row in rows)
            assert rows


def test_hidden_states_wait_on_disk_where_they_do_not_fit(whole, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plan = plan_of(whole)
    tight = dataclasses.replace(plan, run=dataclasses.replace(plan.run, memory=plan.kept_bytes - 1))
    assert "on disk" in " ".join(tight.lines())
    assert "in memory" in " ".join(plan.lines())
    seen = []
    found = {"losses": [], "examples": []}
    for _, rows in tight.rows(tight.parts, say=lambda _: None):
        seen.append(len(list(tmp_path.glob("geodiag-losses-*/*"))))
        for table, some in rows.items():
            found[table] += some
    assert found == rows_of(plan)
    assert max(seen) <= 3 * 3
    assert not list(tmp_path.iterdir())


def test_killed_anywhere_it_goes_on_and_the_rows_are_the_same_bits(whole, tmp_path):
    class Stops(Silent):
        def __init__(self, after):
            self.after = after

        def part_done(self, run, part):
            self.after -= part.startswith("state-")
            if self.after == 0:
                raise KeyboardInterrupt

    extract_all(whole, work(tmp_path / "once"))
    for after in (2, 5):  # one after the other, each further on
        with pytest.raises(KeyboardInterrupt):
            extract_all(whole, work(tmp_path / "killed"), progress=Stops(after))
        assert not StoreReader(tmp_path / "killed").has("losses")
    extract_all(whole, work(tmp_path / "killed"))
    for table in ("losses", "examples"):
        assert stored(tmp_path / "killed", table).equals(stored(tmp_path / "once", table))
    assert "losses unchanged" in extract_all(whole, work(tmp_path / "once")).outcomes[0].detail


@pytest.mark.slow
def test_shards_give_the_same_bits(whole, tmp_path):
    extract_all(whole, work(tmp_path / "one"))
    extract_all(whole, work(tmp_path / "two", "geometry"))
    for shard in ("1/2", "2/2"):
        extract_all(whole, work(tmp_path / "two", "losses", shard=parse_shard(shard)))
    assert stored(tmp_path / "two").equals(stored(tmp_path / "one"))


def test_a_grown_run_computes_the_new_states_and_tasks_alone(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    write_probes(tmp_path / "run" / "probes.jsonl", [probe for probe in GIVEN if probe[0] != "gamma"])
    write_manifest(tmp_path / "run", steps=2)
    extract_all(tmp_path / "run", work(tmp_path / "s"))
    write_probes(tmp_path / "run" / "probes.jsonl", GIVEN)
    write_manifest(tmp_path / "run", steps=3)
    done = []

    class Notes(Silent):
        def part_done(self, run, part):
            done.append(part)

    extract_all(tmp_path / "run", work(tmp_path / "s"), progress=Notes())
    new = {f"state-000{n} gamma" for n in range(4)} | {"state-0003 alpha", "state-0003 beta"}
    assert {part for part in done if part.startswith("state-")} == new
    extract_all(whole, work(tmp_path / "once"))
    assert stored(tmp_path / "s").equals(stored(tmp_path / "once"))
    write_probes(tmp_path / "run" / "probes.jsonl", GIVEN[1:])
    refused = extract_all(tmp_path / "run", dataclasses.replace(work(tmp_path / "s"), strict=False)).failed[0]
    assert "it has losses of other probes or options; pass --overwrite" in refused.detail


def test_bfloat16_says_what_it_cannot_tell_from_no_change(whole, monkeypatch):
    """The floor by its definition, from losses of 8 examples in both precisions."""
    plan = plan_of(whole, precision="bfloat16")
    rows = rows_of(plan)["losses"]
    differences = {}
    for precision in ("bfloat16", "float32"):
        found = rows_of(plan_of(whole, precision=precision))["examples"]
        by_key = {(e["step"], e["task"], e["example"]): e["loss"] for e in found}
        differences[precision] = {
            task: [by_key[3, task, n] - by_key[0, task, n] for n in range(8) if (0, task, n) in by_key]
            for task in ("alpha", "beta", "gamma")
        }
    for row in rows:
        pairs = zip(differences["bfloat16"][row["task"]], differences["float32"][row["task"]], strict=True)
        mean, se = mean_and_se([narrow - wide for narrow, wide in pairs])
        n = len(differences["float32"][row["task"]])
        assert row["precision_floor"] == pytest.approx(2 * max(abs(mean), se * n**0.5), rel=1e-2)
        assert 1e-4 < row["precision_floor"] < 0.3
    assert "4 more over 8" not in " ".join(plan.lines())
    assert "12 more over 8 examples a task" in " ".join(plan.lines())


def test_the_precision_follows_from_the_budget(whole):
    assert plan_of(whole).precision == "float32"
    assert plan_of(whole, memory=2**14).precision == "bfloat16"
    assert plan_of(whole, memory=2**14, precision="float32").precision == "float32"


def test_passes_that_a_dry_run_promises_are_those_that_are_made(whole, tmp_path, monkeypatch):
    made = []
    real = loss_rows_module.score_examples
    monkeypatch.setattr(loss_rows_module, "score_examples", lambda *a, **k: made.append(1) or real(*a, **k))
    lines = list(plan_all(whole, work(tmp_path / "s"), timed=False))
    (promised,) = (line for line in lines if "forward passes" in line)
    assert promised.startswith("12 forward passes over a task's examples")
    rows_of(plan_of(whole))
    assert len(made) == 12
    (head,) = (line for line in lines if line.startswith("run tiny: losses"))
    tokens = sum(len(byte_ids(prompt + target)) for _, prompt, target in GIVEN)
    assert f"3 tasks at 4 states, 16 examples of {tokens} tokens, model in float32" in head


def test_an_8b_model_fits_a_device_of_80_gb(whole, tmp_path):
    """Counted from the shapes of Qwen3-8B: 8.19e9 weights in bfloat16 are 16.4 GB."""
    from geodiag.checkpoints import Checkpoint, TensorInfo

    shape = {"hidden_size": 4096, "intermediate_size": 12288, "vocab_size": 151936}
    blocks = {"q": (4096, 4096), "k": (1024, 4096), "v": (1024, 4096), "o": (4096, 4096)}
    mlp = {"gate": (12288, 4096), "up": (12288, 4096), "down": (4096, 12288)}
    sizes = {f"{n}.{name}": size for n in range(36) for name, size in (blocks | mlp).items()}
    sizes |= {"embed": (151936, 4096), "head": (151936, 4096)}
    tensors = {name: (TensorInfo(size, "bfloat16"), tmp_path) for name, size in sizes.items()}
    plan = plan_of(whole, precision="bfloat16")
    base = Checkpoint(tmp_path, shape, tensors)
    checkpoints = plan.run.checkpoints | {plan.manifest.base: base}
    big = dataclasses.replace(plan, run=dataclasses.replace(plan.run, checkpoints=checkpoints))
    weights = 2 * sum(a * b for a, b in sizes.values())
    heads = 2 * 151936 * 4096 * 2
    assert weights + heads < big.device_bytes < weights + heads + 4e9 < 80e9
    line = next(line for line in big.lines() if line.startswith("memory:"))
    assert "GiB on the device at once" in line


def test_divergences_hold_where_probabilities_vanish():
    before, now = torch.tensor([[0.0, 0.0, -1e4]]), torch.tensor([[0.0, -5.0, 3.0]])
    p, q = before.double().softmax(-1), now.double().softmax(-1)
    forward, backward, overlap = position_divergence(before, now)[0].tolist()
    assert forward == pytest.approx((p[0, :2] * (p[0, :2] / q[0, :2]).log()).sum().item())
    assert backward > 1000
    assert overlap == pytest.approx((p * q).sqrt().sum().item())
    assert position_divergence(now, now)[0].tolist() == pytest.approx([0, 0, 1], abs=1e-12)
    more = torch.cat([now, torch.tensor([[2.0]])], dim=1)
    assert position_divergence(more, now)[0].tolist() == pytest.approx([0, 0, 1], abs=1e-12)


def test_the_turn_s_end_has_a_loss_of_its_own(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    outer = tokenizer()
    outer.add_special_tokens({"eos_token": "<s>"})
    outer.save_pretrained(tmp_path / "run" / "state_0")
    probes = {"file": "probes.jsonl", "end": True}
    write_manifest(tmp_path / "run", steps=1, probes=probes)
    rows = rows_of(plan_of(tmp_path / "run"), ["state-0001 alpha"])["losses"][0]
    model = model_at(whole, 1)
    losses, ends = [], []
    for _, prompt, target in (probe for probe in GIVEN if probe[0] == "alpha"):
        ids = [*byte_ids(prompt + target), outer.eos_token_id]
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        n = len(byte_ids(target)) + 1
        each = [-log_p[at - 1, ids[at]].item() for at in range(len(ids) - n, len(ids))]
        losses.append(sum(each) / n)
        ends.append(each[-1])
    assert rows["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert rows["loss_end"] == pytest.approx(sum(ends) / len(ends), abs=1e-5)


def test_across_another_tokenizer_differences_are_null_and_said(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    other = tokenizer()
    other.add_tokens(["what"])
    other.save_pretrained(tmp_path / "run" / "state_2")
    found = {row["step"]: row for row in rows_of(plan_of(tmp_path / "run"))["losses"] if row["task"] == "alpha"}
    assert found[1]["delta_loss"] is not None
    for step in (2, 3):
        assert found[step]["delta_loss"] is None
        assert found[step]["kl_prev_fwd"] is None
    assert (found[2]["kl_base_fwd"], found[3]["bc_base"] is None) == (None, False)
    assert "other tokenizer than" in found[2]["note"]


def test_a_run_without_probes_is_refused(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    write_manifest(tmp_path / "run", steps=1, probes=None)
    with pytest.raises(ProbesError, match="losses need probes, and the manifest names none"):
        plan_of(tmp_path / "run")


def test_rows_are_json_and_keys_are_unique(whole):
    rows = rows_of(plan_of(whole))
    for table, key in (("losses", ("step", "task")), ("examples", ("step", "task", "example"))):
        keys = [tuple(row[name] for name in key) for row in rows[table]]
        assert len(set(keys)) == len(keys)
        json.dumps(rows[table], allow_nan=False)
    halves = itertools.groupby(rows["examples"][:5], key=lambda row: row["half"])
    assert [half for half, _ in halves] == ["choosing", "judging", "choosing", "judging", "choosing"]
