"""The probes of a run as every measurement of losses reads them: encoded once, in a fixed order, in two halves."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from geodiag.common.text import counted, listed
from geodiag.errors import ProbesError, SettingsError
from geodiag.models.batches import EncodedProbe, common_prefix, encode_ids
from geodiag.models.loading import folder_of, load_tokenizer
from geodiag.runs import Manifest, Probe, load_probes

Half = Literal["choosing", "judging"]
"""Edits are chosen on one half of a task's examples and judged on the other."""
HALVES: tuple[Half, Half] = ("choosing", "judging")
FEWEST_A_HALF = 8
"""Examples; with fewer, a task's losses are measured and nothing is chosen or judged by them."""
MOST_LEFT_OUT = 0.2
"""Share of a task's examples that may be longer than the limit."""
DATE = datetime(2024, 7, 26, tzinfo=UTC)
"""The date that chat templates are given, so that a prompt is the same on every day."""
_TODAY = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")


@dataclass(frozen=True)
class TaskProbe(EncodedProbe):
    """One example of a task: its tokens, and which half it is in."""

    digest: str
    """sha256 of task, prompt and target, 64 hexadecimal digits."""
    half: Half
    n_end: int
    """How many of the target's tokens, at its end, are the turn's end rather than the answer."""


@dataclass(frozen=True)
class TaskProbes:
    """The examples drawn of one task."""

    task: str
    examples: tuple[TaskProbe, ...]
    """In the order of their hashes; equal prompts lie together and in one half."""
    n_cut: int
    """How many were longer than the limit and left out."""

    def of_half(self, half: Half) -> list[int]:
        """The places of a half's examples."""
        return [n for n, example in enumerate(self.examples) if example.half == half]

    @property
    def judgeable(self) -> bool:
        """Whether each half has enough examples to choose and judge by."""
        return min(len(self.of_half(half)) for half in HALVES) >= FEWEST_A_HALF

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the tokens and halves of all examples: a key of what was measured."""
        text = json.dumps([[e.digest, e.half, e.ids, e.n_target, e.n_end] for e in self.examples])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class RunProbes:
    """The examples of every task of a run that has probes."""

    tasks: Mapping[str, TaskProbes]
    """By folded name: trained tasks in training order, then others by name."""
    chat: bool
    """Whether prompts are a user's messages in the base's chat template."""
    end: str
    """The text of the turn's end behind each target; empty for none."""
    tokenizers: tuple[str, ...]
    """Of every state from the base on, a key of its own tokenizer where that gives other ids; empty where not."""
    notes: tuple[str, ...]
    """What a person should know: examples left out, tasks with few."""

    @property
    def config(self) -> dict[str, Any]:
        """What decides the examples, as JSON: a digest a task, and how they were encoded."""
        return {
            "chat": self.chat,
            "end": self.end,
            "probes": {task: probes.digest for task, probes in self.tasks.items()},
        }


def run_probes(manifest: Manifest, *, per_task: int | None = 64, max_length: int = 1024) -> RunProbes:
    """Draws and encodes the probes of a run with the base's tokenizer and chat template.

    Args:
        manifest: the run; its `probes` must be given.
        per_task: examples of each task, half of them in each half; None takes all.
        max_length: most tokens of prompt and target; longer examples are left out, never cut.

    Raises:
        ProbesError: the manifest names no probes, a line is wrong, an example has no token to predict, or more than
            a fifth of a task's examples are too long.
        CheckpointError: there is no tokenizer.
        SettingsError: the chat template is asked for and there is none, or transformers is not installed.
    """
    if manifest.probes is None:
        fix = "add `probes: probes.jsonl` with lines of task, prompt, target"
        raise ProbesError("losses need probes, and the manifest names none", where=manifest.path, fix=fix)
    by_task: dict[str, list[Probe]] = {}
    for probe in load_probes(manifest.probes):
        by_task.setdefault(probe.task, []).append(probe)
    encoding = manifest.probe_encoding
    encoder = ProbeEncoder(load_tokenizer(_tokenizer_folder(manifest), base=manifest.base), encoding.chat, encoding.end)
    trained = [task for task in dict.fromkeys(manifest.tasks) if task in by_task]
    order = [*trained, *sorted(set(by_task) - set(trained))]
    tasks = {task: _task_probes(task, by_task[task], encoder, per_task, max_length) for task in order}
    some = [probe for probes in by_task.values() for probe in probes[:8]]
    tokenizers = tuple(_tokenizer_of(step.state, manifest, encoder, some) for step in manifest.steps)
    notes = tuple(_notes(manifest, tasks, by_task, max_length))
    return RunProbes(tasks, encoder.chat, encoder.end, ("", *tokenizers), notes)


class ProbeEncoder:
    """Turns examples into tokens, all in the same way.

    Args:
        tokenizer: a transformers tokenizer.
        chat: `auto` uses the tokenizer's chat template where it has one.
        end: `auto` adds the turn's end behind the target where the chat template is used.

    Raises:
        SettingsError: `chat` is true and there is no template, or `end` is true and there is no such token.
    """

    def __init__(self, tokenizer: Any, chat: Literal["auto"] | bool, end: Literal["auto"] | bool) -> None:
        self._tokenizer = tokenizer
        self.chat = bool(tokenizer.chat_template) if chat == "auto" else chat
        if self.chat and not tokenizer.chat_template:
            fix = "say `chat: auto`, or save the tokenizer with its template"
            raise SettingsError("the tokenizer has no chat template", where=tokenizer.name_or_path, fix=fix)
        wanted = self.chat if end == "auto" else end
        self.end = self._turn_end() if wanted else ""
        if end is True and not self.end:
            message = "the tokenizer has no token that ends a turn or a text"
            raise SettingsError(message, where=tokenizer.name_or_path, fix="say `end: auto`")

    def with_tokenizer(self, tokenizer: Any) -> ProbeEncoder:
        """An encoder that does the same with another tokenizer, as far as that can."""
        return ProbeEncoder(tokenizer, self.chat and bool(tokenizer.chat_template), "auto" if self.chat else False)

    def encode(self, probe: Probe) -> tuple[tuple[int, ...], int, int]:
        """The tokens of prompt, target and end; how many of them are predicted; how many of those are the end's.

        Raises:
            ProbesError: no token of the prompt comes before the target, or the target adds none.
        """
        prompt = self._chat_text(probe.prompt) if self.chat else probe.prompt
        texts = (prompt, prompt + probe.target, prompt + probe.target + self.end)
        before, answered, whole = (encode_ids(self._tokenizer, text, special=not self.chat) for text in texts)
        n_before = common_prefix(whole, before)
        if n_before == 0 or n_before == len(answered):
            message = "the target adds no token" if n_before else "no token of the prompt comes before the target"
            raise ProbesError(message, where=probe.where, fix="give both a prompt and a target")
        n_end = len(whole) - common_prefix(whole, answered) if self.end else 0
        return tuple(whole), len(whole) - n_before, n_end

    def _chat_text(self, prompt: str) -> str:
        return self._rendered([{"role": "user", "content": prompt}], add_generation_prompt=True)

    def _rendered(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        # A template asks for today's date by a function of its environment, which arguments cannot replace.
        template = _TODAY.sub(lambda call: repr(DATE.strftime(call[2])), self._tokenizer.get_chat_template())
        text: str = self._tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=False,
            date_string=DATE.strftime("%d %b %Y"),
        )
        return text

    def _turn_end(self) -> str:
        """The special token that the template puts behind an answer, or the one that ends a text."""
        last = str(self._tokenizer.eos_token or "")
        if not self.chat:
            return last
        answer = "an answer"
        messages = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": answer}]
        behind = self._rendered(messages, add_generation_prompt=False).rpartition(answer)[2].lstrip()
        added = [str(token) for token in self._tokenizer.added_tokens_decoder.values()]
        fits = [token for token in (*added, last) if token and behind.startswith(token)]
        return max(fits, key=len, default=last)


def _task_probes(
    task: str, probes: Iterable[Probe], encoder: ProbeEncoder, per_task: int | None, max_length: int
) -> TaskProbes:
    """Examples of one task, drawn half by half until each is full."""
    wanted = {"choosing": None, "judging": None} if per_task is None else _shares(per_task)
    drawn: list[TaskProbe] = []
    counts = dict.fromkeys(HALVES, 0)
    seen = n_cut = 0
    for half, digest, probe in _in_halves(probes):
        most = wanted[half]
        if most is not None and counts[half] >= most:
            continue
        seen += 1
        ids, n_target, n_end = encoder.encode(probe)
        if len(ids) > max_length:
            n_cut += 1
            continue
        counts[half] += 1
        drawn.append(TaskProbe(ids, n_target, 0, digest, half, n_end))
    if n_cut > MOST_LEFT_OUT * seen:
        message = f"{n_cut} of {counted(seen, 'probe')} of {task} are longer than {max_length} tokens"
        raise ProbesError(message, fix="raise --loss-max-length, or give shorter examples")
    return TaskProbes(task, tuple(drawn), n_cut)


def _shares(per_task: int) -> dict[str, int | None]:
    return {"choosing": (per_task + 1) // 2, "judging": per_task // 2}


def _in_halves(probes: Iterable[Probe]) -> Iterator[tuple[Half, str, Probe]]:
    """Distinct examples in the order of their hashes, those with one prompt together, halves alternating."""
    by_prompt: dict[str, dict[str, Probe]] = {}
    for probe in probes:
        by_prompt.setdefault(probe.prompt, {}).setdefault(probe_digest(probe), probe)
    ordered = sorted(by_prompt.values(), key=min)
    for n, same_prompt in enumerate(ordered):
        for digest in sorted(same_prompt):
            yield HALVES[n % 2], digest, same_prompt[digest]


def probe_digest(probe: Probe) -> str:
    """sha256 of an example's task, prompt and target."""
    return hashlib.sha256(json.dumps([probe.task, probe.prompt, probe.target]).encode()).hexdigest()


def _notes(
    manifest: Manifest, tasks: Mapping[str, TaskProbes], given: Mapping[str, Sequence[Probe]], max_length: int
) -> Iterator[str]:
    where = f"{manifest.probes}: "
    missing = [task for task in manifest.tasks if task not in tasks]
    if missing:
        yield f"{where}no probes of {listed(missing, most=6)}"
    cut = [f"{task} {probes.n_cut}" for task, probes in tasks.items() if probes.n_cut]
    if cut:
        yield f"{where}longer than {max_length} tokens and left out: {listed(cut, most=6)}"
    repeats = sum(len(probes) - len({probe_digest(p) for p in probes}) for probes in given.values())
    if repeats:
        yield f"{where}{counted(repeats, 'probe')} are there again and count once"
    few = [task for task, probes in tasks.items() if not probes.judgeable]
    if few:
        yield f"{where}fewer than {FEWEST_A_HALF} probes a half, so losses only: {listed(few, most=6)}"


def _tokenizer_of(state: Path, manifest: Manifest, encoder: ProbeEncoder, probes: Sequence[Probe]) -> str:
    """A key of the ids that a state's own tokenizer gives; empty where they are the run's."""
    file, of_run = (folder_of(path) / "tokenizer.json" for path in (state, _tokenizer_folder(manifest)))
    if not file.is_file() or (of_run.is_file() and file.read_bytes() == of_run.read_bytes()):
        return ""
    own = encoder.with_tokenizer(load_tokenizer(state, base=manifest.base))
    if all(encoder.encode(probe)[0] == own.encode(probe)[0] for probe in probes):
        return ""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _tokenizer_folder(manifest: Manifest) -> Path:
    return manifest.probe_encoding.tokenizer or manifest.base
