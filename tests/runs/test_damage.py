"""Damaged input only ever gives a GeodiagError, in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from geodiag.errors import GeodiagError
from geodiag.runs import check_manifest, draft_manifest, load_manifest, load_scores, score_notes, write_draft

SPICE = [
    b"\x00",
    b"\xff",
    b"\t",
    b"\n",
    b":",
    b"{",
    b"]",
    b"'",
    b'"',
    b"&a",
    b"*a",
    b"!!int ",
    b"- ",
    b"#",
    b"|",
    b"9" * 30,
]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, len(data) + 1))
        match int(rng.integers(0, 4)):
            case 0:
                data = data[:at] + SPICE[int(rng.integers(len(SPICE)))] + data[at:]
            case 1:
                data = data[:at] + data[at + int(rng.integers(1, 9)) :]
            case 2:
                data = data[:at] + bytes([int(rng.integers(256))]) + data[at + 1 :]
            case 3:
                data = data[: max(at, 1)]
    return data


def outcome(read) -> bool:
    """Whether reading succeeds; anything but a GeodiagError of one line fails the test."""
    message = "fine"
    try:
        read()
    except GeodiagError as error:
        message = str(error)
    assert message
    assert "\n" not in message
    return message == "fine"


@pytest.mark.parametrize("seed", range(3))
def test_damaged_manifests(folder, seed):
    rng = np.random.default_rng(seed)
    whole = folder.yaml.read_bytes()
    results = []
    for _ in range(150):
        folder.yaml.write_bytes(damaged(whole, rng))
        results.append(outcome(lambda: load_manifest(folder.yaml)))
        assert all("\n" not in str(error) for error in check_manifest(folder.yaml))
    assert results.count(False) > 50


@pytest.mark.parametrize("shape", ["long", "wide"])
def test_damaged_csv(folder, shape):
    rng = np.random.default_rng(7)
    text = {
        "long": "step,task,score,stderr\n" + "".join(f"{step},math,0.5,0.01\n" for step in range(4)),
        "wide": "model,overall,math\n" + "".join(f"m{step},0.5,0.25\n" for step in range(4)),
    }[shape]
    manifest = load_manifest(folder.yaml)
    results = []
    for _ in range(300):
        (folder.root / "scores.csv").write_bytes(damaged(text.encode(), rng))
        results.append(outcome(lambda: load_scores(manifest)))
    assert results.count(False) > 100


def test_damaged_parquet(folder):
    rng = np.random.default_rng(11)
    file = folder.root / "scores.parquet"
    pl.DataFrame({"step": [0, 1, 2], "task": ["math"] * 3, "score": [0.1, 0.2, 0.3]}).write_parquet(file)
    whole = file.read_bytes()
    manifest = load_manifest(folder.edit("scores.csv", "scores.parquet"))
    results = []
    for _ in range(200):
        file.write_bytes(damaged(whole, rng))
        results.append(outcome(lambda: load_scores(manifest)))
    assert results.count(False) > 100


JUNK = (None, [], {}, "", "x", -1, 0, 1e400, float("nan"), True, [1], {"a": 1}, "N/A", 10**30)


def bent(data, rng):
    """The same JSON with one of its values replaced by something that does not belong there."""
    places = []

    def walk(node, way):
        children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in children:
            places.append((*way, key))
            walk(child, (*way, key))

    walk(data, ())
    *way, last = places[int(rng.integers(len(places)))]
    place = data
    for key in way:
        place = place[key]
    place[last] = JUNK[int(rng.integers(len(JUNK)))]
    return data


def test_damaged_results(folder):
    rng = np.random.default_rng(13)
    results = folder.root / "results"
    shutil.copytree(Path(__file__).parent / "lm_eval", results)
    file = next((results / "step_1").rglob("results_*.json"))
    whole = file.read_bytes()
    text = folder.yaml.read_text().replace("scores.csv", "results").replace("task: math", "task: bio")
    folder.write(text.replace("base:", "score_metric: acc\nbase:"))
    manifest = load_manifest(folder.yaml)
    read = lambda: score_notes(manifest, load_scores(manifest))  # noqa: E731
    outcomes = []
    assert outcome(read)
    for n in range(300):
        changed = damaged(whole, rng) if n % 2 else json.dumps(bent(json.loads(whole), rng)).encode()
        file.write_bytes(changed)
        outcomes.append(outcome(read))
    assert outcomes.count(False) > 30


def test_damaged_statistics_of_a_merge(tmp_path):
    rng = np.random.default_rng(17)
    file = tmp_path / "continual_gcwm_stats.json"
    steps = [{"new_task": "law", "save_dir": "/a/step_01_law", "active_task_names": ["law"]}] * 2
    stats = {"mode": "gcwm", "memory_mode": "all_history", "memory_size": 2, "task_names": ["law", "x"], "steps": steps}
    whole = json.dumps(stats)
    outcomes = []
    for n in range(300):
        file.write_bytes(damaged(whole.encode(), rng) if n % 2 else json.dumps(bent(json.loads(whole), rng)).encode())

        def draft_and_read():
            write_draft(draft_manifest(tmp_path), overwrite=True)
            load_manifest(tmp_path)

        outcome(draft_and_read)
        outcomes.append((tmp_path / "run.yaml").exists())
    assert any(outcomes)
