"""Probe files: what is read from each form, how examples are drawn, and what every mistake is told."""

from __future__ import annotations

import hashlib
import json

import polars as pl
import pytest

from geodiag.errors import ProbesError
from geodiag.runs import choose_probes, load_probes, repeated_probes


def write(path, *records):
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
    return path


def record(task="math", prompt="1+1=", target="2", **more):
    return {"task": task, "prompt": prompt, "target": target, **more}


def question(**changed):
    row = {
        "question": "Which is a fruit?",
        "options": ["stone", "apple", "rope"],
        "answer": "B",
        "category": "Bio-Logy",
    }
    return row | changed


def parquet(path, *rows):
    pl.DataFrame(list(rows), strict=False).write_parquet(path)
    return path


def complaint(path):
    with pytest.raises(ProbesError) as caught:
        load_probes(path)
    return str(caught.value).replace(f"{path.parent}/", "")


# --- JSON lines


def test_json_lines_keep_text_as_it_is_and_fold_the_task(tmp_path):
    path = write(tmp_path / "p.jsonl", record(task="High School", prompt=" Ö \n", target=" two "), "", record(id=7))
    first, second = load_probes(path)
    assert (first.task, first.prompt, first.target, first.where) == ("high_school", " Ö \n", " two ", f"{path}:1")
    assert (second.task, second.where) == ("math", f"{path}:3")


def test_an_empty_prompt_is_allowed(tmp_path):
    assert load_probes(write(tmp_path / "p.jsonl", record(prompt="")))[0].prompt == ""


LINE = 'write {"task": "...", "prompt": "...", "target": "..."}'


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"task": ', f"not a line of JSON (Expecting value); {LINE}"),
        ("[1, 2]", f"[1, 2] is no JSON object; {LINE}"),
        ({"task": "a", "prompt": "b"}, f"no key 'target'; {LINE}"),
        (record(prompt=3), f"'prompt' is 3, not text; {LINE}"),
        (record(task=None), f"'task' is null, not text; {LINE}"),
        (record(task=" - "), "'task' is empty; name the task as in run.yaml"),
        (record(target=" \n"), "'target' is empty; give the answer that the loss is taken on"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, told):
    assert complaint(write(tmp_path / "p.jsonl", record(), line)) == f"p.jsonl:2: {told}"


def test_files_that_are_no_probe_files(tmp_path):
    kind = "give .jsonl with task, prompt, target, or MMLU-Pro style .parquet"
    assert complaint(write(tmp_path / "p.csv", "a")) == f"p.csv: unknown kind of probe file '.csv'; {kind}"
    assert complaint(write(tmp_path / "p.jsonl", "")).startswith("p.jsonl: holds no probes; give one line an example")
    assert complaint(tmp_path / "none.jsonl") == "none.jsonl: cannot be read (No such file or directory)"
    (tmp_path / "latin.jsonl").write_bytes('{"task": "ö"}'.encode("latin-1"))
    assert complaint(tmp_path / "latin.jsonl") == "latin.jsonl: not UTF-8 text at byte 10; save it as UTF-8"
    assert complaint(write(tmp_path / "p.parquet", "text")).startswith("p.parquet: not a readable Parquet file (")


# --- Parquet


def test_plain_columns_in_parquet(tmp_path):
    path = parquet(tmp_path / "p.parquet", record(), record(task="law", target="no"))
    assert [(p.task, p.prompt, p.target, p.where) for p in load_probes(path)] == [
        ("math", "1+1=", "2", f"{path}, row 1"),
        ("law", "1+1=", "no", f"{path}, row 2"),
    ]


PROMPT = """\
This is a multiple choice question about Bio-Logy. Answer with the letter of the right option.

Question: Which is a fruit?
Options:
A. stone
B. apple
C. rope
Answer: """


@pytest.mark.parametrize(
    "options",
    [
        ["stone", "apple", "rope"],
        '["stone", "apple", "rope"]',
        "['stone', 'apple', 'rope']",
        "stone\napple\nrope\n",
        "A. stone\nB. apple\nC. rope",
        "(A) stone\n\n(B) apple\n(C) rope",
    ],
)
@pytest.mark.parametrize(
    "answer", [{"answer": "b"}, {"answer": 1}, {"answer": "1"}, {"answer": None, "answer_index": 1}]
)
def test_multiple_choice_in_every_form_is_one_prompt(tmp_path, options, answer):
    (probe,) = load_probes(parquet(tmp_path / "q.parquet", question(options=options, **answer)))
    assert (probe.task, probe.prompt, probe.target) == ("bio_logy", PROMPT, "B")


def test_ten_options_go_up_to_j_and_the_letter_wins_over_the_index(tmp_path):
    row = question(options=[str(n) for n in range(10)], answer="J", answer_index=3)
    (probe,) = load_probes(parquet(tmp_path / "q.parquet", row))
    assert probe.target == "J"
    assert "\nJ. 9\nAnswer: " in probe.prompt


OPTIONS = "give a list of at least two texts, or one text with an option a line"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"answer": "D"}, "'answer' is 'D', none of 3 options; give a letter A to C, or an index 0 to 2"),
        ({"answer": 3}, "'answer' is '3', none of 3 options; give a letter A to C, or an index 0 to 2"),
        ({"answer": None}, "'answer' is empty; give a letter A to C, or an index 0 to 2"),
        ({"question": " "}, "'question' is empty; give the question as text"),
        ({"category": None}, "'category' is empty; give the category as text"),
        ({"options": "just one"}, f"'options' holds 1 of them; give 2 to 26; {OPTIONS}"),
        ({"options": "['a', "}, f"'options' is \"['a', \"; {OPTIONS}"),
        ({"options": None}, f"'options' is 'None'; {OPTIONS}"),
    ],
)
def test_a_wrong_question_is_named(tmp_path, changed, told):
    path = tmp_path / "q.parquet"
    pl.DataFrame({k: [v] for k, v in (question() | changed).items()}, strict=False).write_parquet(path)
    assert complaint(path) == f"q.parquet, row 1: {told}"


def test_parquet_with_other_columns_says_which_are_needed(tmp_path):
    told = complaint(parquet(tmp_path / "q.parquet", {"a": 1, "b": 2}))
    fix = "give task, prompt, target, or category, question, options and answer or answer_index"
    assert told == f"q.parquet: columns are a, b; {fix}"


# --- drawing


def drawn(path, **how):
    return {t: [p.prompt for p in ps] for t, ps in choose_probes(load_probes(path), ["b", "a", "none"], **how).items()}


def test_the_draw_is_the_order_of_a_named_hash(tmp_path):
    lines = [record(task=t, prompt=f"{t}{n}", target="x") for t in "ab" for n in range(20)]

    def order(task):
        digest = {
            f"{task}{n}": hashlib.sha256(json.dumps([5, task, f"{task}{n}", "x"]).encode()).hexdigest()
            for n in range(20)
        }
        return sorted(digest, key=digest.get)

    found = drawn(write(tmp_path / "p.jsonl", *lines), per_task=8, seed=5)
    assert list(found) == ["b", "a"]
    assert found == {"b": order("b")[:8], "a": order("a")[:8]}


def test_the_draw_does_not_depend_on_the_files_order_and_grows_by_adding(tmp_path):
    lines = [record(task="a", prompt=str(n)) for n in range(30)]
    path, back = write(tmp_path / "p.jsonl", *lines), write(tmp_path / "back.jsonl", *lines[::-1])
    eight = drawn(path, per_task=8, seed=0)["a"]
    assert drawn(back, per_task=8, seed=0)["a"] == eight
    assert drawn(path, per_task=12, seed=0)["a"][:8] == eight
    assert drawn(path, per_task=8, seed=1)["a"] != eight
    assert sorted(drawn(path, per_task=None, seed=0)["a"]) == sorted(str(n) for n in range(30))


def test_a_repeated_example_counts_once_and_is_counted(tmp_path):
    lines = [record(task="A"), record(task="a"), record(task="a", target="3"), record(task="c"), record(task="c")]
    probes = load_probes(write(tmp_path / "p.jsonl", *lines))
    assert [p.target for p in choose_probes(probes, ["a"], per_task=None, seed=0)["a"]] in (["2", "3"], ["3", "2"])
    assert repeated_probes(probes, ["a"]) == 1
    assert repeated_probes(probes, ["a", "c"]) == 2
