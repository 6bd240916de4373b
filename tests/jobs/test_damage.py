"""Damaged inputs of every kind: one line and no rows, or, where nobody could tell, the whole run.

What counts: bytes of one file of a run are changed, dropped or added at random. Libraries that are not ours
(safetensors, json, yaml) then say whether the file can still be read, and whether every weight that the run needs is
there in its old shape and type, and finite. Where not, the run must fail with one line, and no row
of it is stored. Where it can (a mantissa bit that leaves a weight finite, a letter of a label, a comment), nobody can
tell, and the run must be stored with every row that its manifest asks for. Only for text files, and for weights beyond
1e15, whose squares overflow, both are right.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file

from geodiag.errors import UnexpectedError
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.runs import load_manifest
from geodiag.store import StoreReader
from tests import synthetic
from tests.jobs.extracting import extract_all

FAMILIES = ("q_proj", "down_proj")
SETTINGS = make_settings(rank=4, families=FAMILIES)
ROUNDS = 34
"""Of each of ten kinds."""
SHARD = "states/s1/model-00001-of-00002.safetensors"
BASE = "base/model-00002-of-00002.safetensors"
ADAPTER = "states/s2"
OVERFLOWS = 1e15


def write_adapter(folder: Path, base: Path) -> None:
    """A LoRA adapter of q_proj as PEFT stores one, instead of the second state."""
    shutil.rmtree(folder)
    folder.mkdir()
    g = torch.Generator().manual_seed(0)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    A, B = torch.randn(3, synthetic.WIDTH, generator=g), torch.randn(synthetic.WIDTH, 3, generator=g)
    save_file({f"{name}.lora_A.weight": A, f"{name}.lora_B.weight": B}, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": ["q_proj"], "bias": "none"}
    config |= {"base_model_name_or_path": str(base), "task_type": "CAUSAL_LM", "fan_in_fan_out": False}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage") / "run"
    synthetic.write_run(folder, steps=2, shards=2)
    write_adapter(folder / ADAPTER, folder / "base")
    with (folder / "run.yaml").open("a") as file:
        file.write("# A comment.\n")
    return folder


NAN = b"\xff\xff\xff\x7f"
SPICE = (
    "nan",
    "-",
    "1e999",
    "0",
    "99999999999",
    ",",
    '"',
    "null",
    "[]",
    "{",
    ": ",
    "../",
    "é",
    " ",
    "#",
    "true",
    "!!x ",
)


def changed_bytes(data: bytes, rng: np.random.Generator, *, first: int, last: int) -> bytes:
    """One to three changes between two places; half of the time the length stays."""
    kinds = 3 if rng.random() < 0.5 else 6
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(first, max(first + 1, min(last, len(data)))))
        match int(rng.integers(0, kinds)):
            case 0:
                data = data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
            case 1:
                data = data[:at] + rng.bytes(2) + data[at + 2 :]
            case 2:
                data = data[: at - at % 4] + NAN + data[at - at % 4 + 4 :] if rng.random() < 0.2 else data
            case 3:
                data = data[:at] + rng.bytes(int(rng.integers(1, 5))) + data[at:]
            case 4:
                data = data[:at] + data[at + int(rng.integers(1, 9)) :]
            case 5:
                data = data[: max(1, at)]
    return data


def changed_text(data: bytes, rng: np.random.Generator, **_: int) -> bytes:
    """A letter, a digit, a word or a line that is another, there twice, or gone; sometimes bytes that are no text."""
    if rng.random() < 0.2:
        return changed_bytes(data, rng, first=0, last=len(data))
    text = data.decode()
    at, lines = int(rng.integers(len(text))), text.split("\n")
    line, other = int(rng.integers(len(lines))), int(rng.integers(len(lines)))
    match int(rng.integers(0, 6)):
        case 0:
            text = text[:at] + SPICE[int(rng.integers(len(SPICE)))] + text[at:]
        case 1:
            text = text[:at] + chr(int(rng.integers(32, 127))) + text[at + 1 :]
        case 2:
            text = text[:at] + text[at + int(rng.integers(1, 9)) :]
        case 3:
            text = "\n".join(lines[:line] + lines[line + 1 :])
        case 4:
            text = "\n".join([*lines[:other], lines[line], *lines[other:]])
        case 5:
            places = [n for n, letter in enumerate(text) if letter.isdigit()]
            digit = places[int(rng.integers(len(places)))] if places else 0
            text = text[:digit] + SPICE[int(rng.integers(len(SPICE)))] + text[digit + 1 :]
    return text.encode()


def header_end(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def judge_weights(before: bytes, after: bytes) -> str:
    """`fails`, `stored`, or `either`, by what safetensors itself reads of a file."""
    try:
        was, now = load(before), load(after)
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError):
        return "fails"
    needed = [name for name in was if any(family in name for family in FAMILIES)]
    for name in needed:
        if name not in now or now[name].shape != was[name].shape or not now[name].dtype.is_floating_point:
            return "fails"
        if not torch.isfinite(now[name]).all():
            return "fails"
    large = any(now[name].dtype != was[name].dtype or now[name].abs().max() > OVERFLOWS for name in needed)
    # Of tensors that are not needed, the names still count: an index may ask for them, and an adapter change others.
    return "either" if large or set(now) != set(was) else "stored"


def judge_json(_before: bytes, after: bytes) -> str:
    try:
        return "either" if isinstance(json.loads(after.decode("utf-8")), dict) else "fails"
    except (ValueError, RecursionError):
        return "fails"


def judge_yaml(_before: bytes, after: bytes) -> str:
    try:
        return "either" if isinstance(yaml.safe_load(after.decode("utf-8")), dict) else "fails"
    except (ValueError, yaml.YAMLError):
        return "fails"


def judge_text(_before: bytes, after: bytes) -> str:
    try:
        return "either" if after.decode("utf-8") else "fails"
    except ValueError:
        return "fails"


KINDS = {
    "a shard's header": (SHARD, 0, header_end, changed_bytes, judge_weights),
    "a shard's weights": (SHARD, header_end, len, changed_bytes, judge_weights),
    "the base's weights": (BASE, header_end, len, changed_bytes, judge_weights),
    "an adapter's header": (f"{ADAPTER}/adapter_model.safetensors", 0, header_end, changed_bytes, judge_weights),
    "an adapter's factors": (f"{ADAPTER}/adapter_model.safetensors", header_end, len, changed_bytes, judge_weights),
    "an adapter's settings": (f"{ADAPTER}/adapter_config.json", 0, len, changed_text, judge_json),
    "an index": ("base/model.safetensors.index.json", 0, len, changed_text, judge_json),
    "a configuration": ("base/config.json", 0, len, changed_text, judge_json),
    "a manifest": ("run.yaml", 0, len, changed_text, judge_yaml),
    "scores": ("scores.csv", 0, len, changed_text, judge_text),
}


def put(file: Path, data: bytes) -> None:
    """Another file of the same name: what is mapped of the old one stays."""
    draft = file.with_name("draft")
    draft.write_bytes(data)
    os.replace(draft, file)


def check_failed(report, store):
    """One line, of an error that somebody foresaw, and no row."""
    (outcome,) = report.outcomes
    assert outcome.error is not None
    assert not isinstance(outcome.error, UnexpectedError), repr(outcome.error.__cause__)
    assert "\n" not in outcome.detail
    assert report.exit_code == 2
    assert [file for file in store.rglob("*.parquet") if ".staging" not in file.parts] == []


def check_whole(run, store):
    """Every row that the manifest asks for: of each layer all updates and pairs, and all of the scores."""
    reader, manifest = StoreReader(store), load_manifest(run)
    layers, steps = len(FAMILIES), len(manifest.steps)
    assert reader.run_ids() == [manifest.run]
    pairs = {1: 1, 2: 1 + 3}[steps] if manifest.memory == "all" else None
    expected = {"layers": layers, "updates": 2 * steps * layers, "unions": steps * layers}
    expected |= {} if pairs is None else {"pairs": pairs * layers}
    for table, rows in expected.items():
        assert reader.scan(table).collect().height == rows, table
    assert reader.runs()["n_steps"].item() == steps


@pytest.mark.parametrize("kind", KINDS)
def test_damage(run, tmp_path, kind):
    name, first, last, change, judge = KINDS[kind]
    before, rng = (run / name).read_bytes(), np.random.default_rng([3, list(KINDS).index(kind)])
    start, end = (place if isinstance(place, int) else place(before) for place in (first, last))
    counts = {"failed": 0, "stored": 0}
    try:
        for _ in range(ROUNDS):
            after = change(before, rng, first=start, last=end)
            put(run / name, after)
            right = "stored" if after == before else judge(before, after)
            report = extract_all(run, tmp_path / "store", SETTINGS, device="cpu", memory=2**28)
            found = "failed" if report.failed else "stored"
            assert found[:4] == right[:4] or right == "either", (right, report.outcomes)
            check_failed(report, tmp_path / "store") if report.failed else check_whole(run, tmp_path / "store")
            counts[found] += 1
            shutil.rmtree(tmp_path / "store", ignore_errors=True)
    finally:
        put(run / name, before)
    assert counts["failed"] + counts["stored"] == ROUNDS
    assert min(counts.values()) > 0, f"damage of one sort only: {counts}"


def test_undamaged_it_is_stored(run, tmp_path):
    assert extract_all(run, tmp_path / "store", SETTINGS, device="cpu").exit_code == 0
    check_whole(run, tmp_path / "store")
    assert load_file(run / SHARD)
