"""Probes of a run: order, halves, encoding and what is left out, by hand."""

from __future__ import annotations

import hashlib
import json

import pytest
from transformers import AutoTokenizer

from geodiag.errors import ManifestError, ProbesError, SettingsError
from geodiag.models.probes import HALVES, ProbeEncoder, run_probes
from geodiag.runs import Probe, load_manifest
from tests.extraction.gradient_runs import byte_ids, tokenizer, write_manifest, write_probes

TASK = "alpha"


def run_of(folder, probes, *, chat=False, **keys):
    """A manifest whose checkpoints are empty folders: only the base's tokenizer is read."""
    for n in range(3):
        (folder / f"state_{n}").mkdir(exist_ok=True)
    tokenizer(chat=chat).save_pretrained(folder / "state_0")
    write_probes(folder / "probes.jsonl", probes)
    return write_manifest(folder, steps=2, **keys)


def examples_of(n, *, length=3):
    return [(TASK, f"question {k}", "a" * length) for k in range(n)]


def digest(task, prompt, target):
    return hashlib.sha256(json.dumps([task, prompt, target]).encode()).hexdigest()


def test_examples_alternate_into_halves_in_the_order_of_their_hashes(tmp_path):
    given = examples_of(7)
    found = run_probes(run_of(tmp_path, [*given, given[3], ("beta", "b", "c")])).tasks
    assert list(found) == [TASK, "beta"]
    assert [e.digest for e in found[TASK].examples] == sorted(digest(*probe) for probe in given)
    assert [e.half for e in found[TASK].examples] == [HALVES[n % 2] for n in range(7)]
    assert found[TASK].of_half("judging") == [1, 3, 5]
    assert not found[TASK].judgeable


def test_examples_with_one_prompt_lie_in_one_half(tmp_path):
    given = [(TASK, f"question {k % 4}", f"answer {k}") for k in range(12)]
    found = run_probes(run_of(tmp_path, given)).tasks[TASK].examples
    half = {probe.digest: probe.half for probe in found}
    for k in range(4):
        same = {half[digest(*probe)] for probe in given if probe[1] == f"question {k}"}
        assert len(same) == 1
    assert {len([e for e in found if e.half == h]) for h in HALVES} == {6}


def test_a_larger_draw_keeps_the_smaller_one_and_its_halves(tmp_path):
    run = run_of(tmp_path, examples_of(40))
    few, many = (run_probes(run, per_task=n).tasks[TASK] for n in (10, 30))
    assert [len(few.of_half(half)) for half in HALVES] == [5, 5]
    halves = {e.digest: e.half for e in many.examples}
    assert all(halves[e.digest] == e.half for e in few.examples)


def test_long_examples_are_left_out_and_counted_never_cut(tmp_path):
    given = [*examples_of(9), (TASK, "long " * 20, "b")]
    found = run_probes(run_of(tmp_path, given), max_length=30)
    assert (len(found.tasks[TASK].examples), found.tasks[TASK].n_cut) == (9, 1)
    assert "longer than 30 tokens and left out: alpha 1" in " ".join(found.notes)
    given += [(TASK, f"{k} long " * 20, "b") for k in range(3)]
    with pytest.raises(ProbesError, match=r"4 of 13 probes of alpha are longer than 30 tokens"):
        run_probes(run_of(tmp_path, given), max_length=30)


def test_the_chat_template_is_used_where_the_base_has_one_with_its_end_behind_the_target(tmp_path):
    probe = Probe(TASK, "two?", "22", "here")
    plain, chat = tokenizer(), tokenizer(chat=True)
    assert ProbeEncoder(plain, "auto", "auto").encode(probe) == (tuple(byte_ids("two?22")), 2, 0)
    encoder = ProbeEncoder(chat, "auto", False)
    assert encoder.encode(probe) == (tuple(byte_ids("[two?]>22")), 2, 0)
    chat.add_special_tokens({"eos_token": "<e>"})
    chat.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% else %}>{{ m.content }}<e>\n{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    )
    encoder = ProbeEncoder(chat, "auto", "auto")
    assert encoder.end == "<e>"
    assert encoder.encode(probe) == ((*byte_ids("[two?]>22"), chat.eos_token_id), 3, 1)
    assert ProbeEncoder(chat, False, "auto").encode(probe) == (tuple(byte_ids("two?22")), 2, 0)


def test_a_template_that_asks_for_the_date_gets_the_same_one_every_day_and_does_not_think():
    chat = tokenizer(chat=True)
    chat.chat_template = (
        "{{ strftime_now('%Y') }} {{ date_string }} {{ enable_thinking }}{% for m in messages %}{{ m.content }}"
        "{% endfor %}"
    )
    ids, *_ = ProbeEncoder(chat, True, False).encode(Probe(TASK, "q", "a", "here"))
    assert ids == tuple(byte_ids("2024 26 Jul 2024 Falseqa"))


def test_a_template_that_is_not_there_is_an_error():
    with pytest.raises(SettingsError, match="no chat template"):
        ProbeEncoder(tokenizer(), True, "auto")
    with pytest.raises(SettingsError, match="no token that ends"):
        ProbeEncoder(tokenizer(), False, True)


def test_the_manifest_says_how_probes_are_encoded(tmp_path):
    written = {"file": "probes.jsonl", "chat": False, "end": "auto", "tokenizer": "state_2"}
    run = run_of(tmp_path, examples_of(2), chat=True)
    tokenizer().save_pretrained(tmp_path / "state_2")
    assert run_probes(run).chat
    run = write_manifest(tmp_path, steps=2, probes=written)
    assert (run.probes, run.probe_encoding.tokenizer) == (tmp_path / "probes.jsonl", tmp_path / "state_2")
    assert not run_probes(run).chat


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        ({"file": "probes.jsonl", "chta": True}, r"unknown key 'chta'; did you mean 'chat'\?"),
        ({"file": "probes.jsonl", "chat": "often"}, r"'chat' is 'often'; give auto \(with the base's chat template"),
        ({"file": "probes.jsonl", "tokenizer": "nowhere"}, r"'tokenizer': no such file or folder"),
        ({"chat": True}, r"'probes' is a group of keys; give the local file"),
    ],
)
def test_a_wrong_encoding_is_named(tmp_path, probes, message):
    run_of(tmp_path, examples_of(2))
    with pytest.raises(ManifestError, match=message):
        write_manifest(tmp_path, steps=2, probes=probes)
    (tmp_path / "run.yaml").unlink()


def test_other_tokenizers_of_states_are_seen(tmp_path):
    run = run_of(tmp_path, examples_of(3))
    tokenizer().save_pretrained(tmp_path / "state_1")
    assert run_probes(run).tokenizers == ("", "", "")
    other = AutoTokenizer.from_pretrained(tmp_path / "state_0")
    other.add_tokens(["quest"])
    other.save_pretrained(tmp_path / "state_2")
    keys = run_probes(load_manifest(tmp_path)).tokenizers
    assert keys[:2] == ("", "")
    assert len(keys[2]) == 16
