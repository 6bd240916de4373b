"""Tasks: disjoint items, the same from the same seed, and tasks from a folder."""

import json

import pytest

from geodiag.errors import SettingsError
from geodiag.lab.domains import DOMAINS
from geodiag.lab.suite import build_suite, characters_of, generate_task

COUNTS = (200, 50, 32)


@pytest.mark.parametrize("name", DOMAINS)
def test_splits_are_disjoint_and_full(name):
    task = generate_task(DOMAINS[name], seed=0, counts=(1024, 128, 32))
    splits = [{item.prompt for item in items} for items in (task.train, task.test, task.probes)]
    assert [len(split) for split in splits] == [1024, 128, 32]
    assert len(set.union(*splits)) == 1024 + 128 + 32


def test_the_seed_decides():
    one, same, other = (generate_task(DOMAINS["sort"], seed=seed, counts=COUNTS) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_task_does_not_depend_on_its_companions():
    (alone,) = build_suite(["sort"], seed=1, counts=COUNTS)
    assert alone == build_suite(["copy", "sort"], seed=1, counts=COUNTS)[1]


def test_only_classes_are_labelled():
    copy, facts = build_suite(["copy", "facts"], seed=0, counts=COUNTS)
    assert {item.label for item in copy.train} == {""}
    assert all(item.label == item.target for item in facts.train)


def test_too_many_items_are_refused():
    with pytest.raises(SettingsError, match=r"task facts has only about .* distinct items, 4050 are asked for"):
        generate_task(DOMAINS["facts"], seed=0, counts=(4000, 50, 0))


def test_unknown_tasks_are_named():
    with pytest.raises(SettingsError, match="unknown task 'sorting'; one of: copy, reverse"):
        build_suite(["sorting"], seed=0, counts=COUNTS)


def write(folder, name, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


def rows(first, last):
    return [{"prompt": f"{k} Ω+1=", "target": f"{k + 1}."} for k in range(first, last)]


def test_tasks_from_a_folder(tmp_path):
    write(tmp_path / "succ", "train", rows(0, 20))
    write(tmp_path / "succ", "test", rows(20, 30))
    (task,) = build_suite(["succ"], seed=0, counts=(10, 5, 4), folder=tmp_path)
    assert [len(task.train), len(task.test), len(task.probes)] == [10, 5, 4]
    assert task.train[3].target == "4."
    assert [item.prompt for item in task.probes] == ["16 Ω+1=", "17 Ω+1=", "18 Ω+1=", "19 Ω+1="]
    assert "Ω" in characters_of([task])


def test_a_leak_in_a_folder_is_refused(tmp_path):
    write(tmp_path / "succ", "train", rows(0, 20))
    write(tmp_path / "succ", "test", rows(3, 5))
    with pytest.raises(SettingsError, match=r"prompt '3 Ω\+1=' is both trained on and held out"):
        build_suite(["succ"], seed=0, counts=(10, 5, 4), folder=tmp_path)


def test_a_line_that_is_no_item_is_named(tmp_path):
    write(tmp_path / "succ", "train", [*rows(0, 2), {"prompt": "2+2=", "answer": "4"}])
    write(tmp_path / "succ", "test", rows(3, 5))
    with pytest.raises(SettingsError, match=r"train\.jsonl:3: not an item"):
        build_suite(["succ"], seed=0, counts=(10, 5, 4), folder=tmp_path)
    with pytest.raises(SettingsError, match="task 'pred' has no file"):
        build_suite(["pred"], seed=0, counts=(10, 5, 4), folder=tmp_path)
