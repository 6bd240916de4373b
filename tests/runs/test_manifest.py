from pathlib import Path

import pytest

from geodiag.errors import GeodiagError, ManifestError
from geodiag.runs import Manifest, check_manifest, check_unique_runs, find_manifests, fold_task_name, load_manifest


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Biology", "biology"),
        ("High School-Math", "high_school_math"),
        ("a - b__c", "a_b_c"),
        ("  law\t2 ", "law_2"),
        ("E\u0301TUDE", "\u00e9tude"),  # e and an accent, as macOS names files, against the one letter
        ("gsm8k", "gsm8k"),
    ],
)
def test_task_names_fold(written, folded):
    assert fold_task_name(written) == folded
    assert fold_task_name(folded) == folded


def test_every_field_is_read_and_paths_are_absolute(folder):
    (folder.root / "probes.jsonl").touch()
    text = "seed: 3\nmemory: 2\nscore_scale: percent\nscore_metric: acc\nprobes: ./probes.jsonl\nscores: scores.csv"
    manifest = load_manifest(folder.edit("scores: scores.csv", text))
    assert manifest.run == "tiny-ewc"
    assert (manifest.size, manifest.method, manifest.seed) == ("4B", "EWC", 3)
    assert (manifest.updates, manifest.memory) == ("experts", 2)
    assert (manifest.score_scale, manifest.score_metric) == ("percent", "acc")
    assert manifest.base == folder.root.parent / "base"
    assert manifest.scores == folder.root / "scores.csv"
    assert manifest.probes == folder.root / "probes.jsonl"
    assert manifest.path == folder.yaml
    assert [step.label for step in manifest.steps] == ["High School", "math", "law-2"]
    assert manifest.tasks == ("high_school", "math", "law_2")
    assert [step.state.name for step in manifest.steps] == ["state_1", "state_2", "state_3"]
    assert manifest.steps[2].expert == folder.root / "expert_3"


def test_what_may_be_left_out_has_its_default(folder):
    text = folder.yaml.read_text().replace("scores: scores.csv\n", "").replace("experts", "increments")
    for n in (1, 2, 3):
        text = text.replace(f", expert: expert_{n}", "")
    manifest = load_manifest(folder.write(text))
    assert (manifest.seed, manifest.scores, manifest.score_metric, manifest.probes) == (None, None, None, None)
    assert (manifest.memory, manifest.score_scale) == ("all", "fraction")
    assert manifest.steps[0].expert is None


def test_the_folder_of_a_manifest_will_do(folder, monkeypatch):
    monkeypatch.chdir(folder.root.parent)
    assert load_manifest(Path("run")) == load_manifest(folder.yaml)


def test_a_manifest_cannot_be_changed(folder):
    manifest = load_manifest(folder.yaml)
    with pytest.raises(ValueError, match="frozen"):
        manifest.size = "8B"


def test_absolute_paths_and_home_are_kept(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_manifest(folder.edit("../base", "~/base")).base == tmp_path / "base"
    assert load_manifest(folder.edit("~/base", str(tmp_path / "base"))).base == tmp_path / "base"


def test_a_manifest_can_be_built_in_python(tmp_path):
    step = {"task": "Math", "state": tmp_path / "s"}
    manifest = Manifest.model_validate(
        {"run": "r", "size": "1B", "method": "SFT", "base": tmp_path, "updates": "increments", "steps": [step]}
        | {"path": tmp_path / "run.yaml"}
    )
    assert manifest.steps[0].task == "math"
    assert manifest.steps[0].label == "Math"


# Each: what is edited, the line that the error names, and the rest of the message.
WRONG = [
    ("method: EWC", "metod: EWC", 3, "unknown key 'metod'; did you mean 'method'?"),
    ("method: EWC", "method: EWC\nzzz: 1", 4, "unknown key 'zzz'; known keys: run, size, method, base, updates, "
     "steps, seed, memory, scores, score_scale, score_metric, probes"),
    ("method: EWC", "method: EWC\npath: x", 4, "unknown key 'path'; known keys: run, size, method, base, updates, "
     "steps, seed, memory, scores, score_scale, score_metric, probes"),
    ("method: EWC\n", "", 1, "key 'method' is missing; give the label of the training method, such as EWC"),
    ("run: tiny-ewc", "run: tiny ewc", 1, "'run' is 'tiny ewc'; give an id of letters, digits, . _ - "
     "(at most 200, a letter, digit or _ first)"),
    ("run: tiny-ewc", "run: ../x", 1, "'run' is '../x'; give an id of letters, digits, . _ - "
     "(at most 200, a letter, digit or _ first)"),
    ("run: tiny-ewc", "run: 2024_01", 1, "'run' is the number 202401, not text; put it in quotes: run: \"2024_01\""),
    ("size: 4B", "size: 4", 2, "'size' is the number 4, not text; put it in quotes: size: \"4\""),
    ("size: 4B", "size:", 2, "'size' is empty; give the label of the model size, such as \"4B\""),
    ("size: 4B", 'size: "\\x1c"', 2, "'size' is empty; give the label of the model size, such as \"4B\""),
    ("size: 4B", "size: [4B]", 2, "'size' is a list; give the label of the model size, such as \"4B\""),
    ("updates: experts", "updates: expert", 5, "'updates' is 'expert'; give one of: experts, increments"),
    ("size: 4B", "size: 4B\nseed: one", 3, "'seed' is 'one'; give a whole number"),
    ("size: 4B", "size: 4B\nseed: true", 3, "'seed' is the truth value true; give a whole number"),
    ("size: 4B", "size: 4B\nmemory: 0", 3, "'memory' is the number 0; give one of: all, anchor, or how many of the "
     "last tasks stay active (1 or more)"),
    ("size: 4B", "size: 4B\nmemory: al", 3, "'memory' is 'al'; give one of: all, anchor, or how many of the "
     "last tasks stay active (1 or more)"),
    ("size: 4B", "size: 4B\nscore_scale: percentage", 3, "'score_scale' is 'percentage'; give one of: fraction, "
     "percent"),
    ("base: ../base", "base: 7", 4, "'base' is the number 7; give the checkpoint that the run started from"),
    ("task: math", "tsak: math", 9, "step 2: unknown key 'tsak'; did you mean 'task'?"),
    ("task: math, ", "", 9, "step 2: key 'task' is missing; give the name of the task trained at this step (not "
     "average, avg, overall, overall_accuracy: those mean the overall score)"),
    ("task: math", "task: no", 9, "step 2: 'task' is the truth value false, not text; put it in quotes: task: \"no\""),
    ("task: math", "task: Overall", 9, "step 2: 'task' is 'Overall'; give the name of the task trained at this step "
     "(not average, avg, overall, overall_accuracy: those mean the overall score)"),
    ("task: math", "task: high_school", 9, "step 2: task 'high_school' is already the task of step 1; task names "
     "differ in more than case, spaces, - and _"),
    ("state_2", "state_1", 9, "step 2: 'state' is the same checkpoint as at step 1 ({root}/state_1); each step has "
     "its own"),
    (", expert: expert_3", "", 10, "step 3: key 'expert' is missing, but the run says `updates: experts` (task "
     "'law-2'); name the expert's checkpoint, or say `updates: increments`"),
    ("state_3", "sate_3", 10, "step 3: 'state': no such file or folder: {root}/sate_3; did you mean 'state_3'?"),
    ("../base", "xyz", 4, "'base': no such file or folder: {root}/xyz; paths are relative to {root}"),
    ("scores: scores.csv", "scores: https://a/b.csv", 6, "'scores' is 'https://a/b.csv'; give the local file or folder "
     "with the scores"),
    ("scores: scores.csv", "scores: score.csv", 6, "'scores': no such file or folder: {root}/score.csv; did you mean "
     "'scores.csv'?"),
    ("scores: scores.csv", "probes: state_1", 6, "'probes' is a folder: {root}/state_1; name a JSONL or Parquet file"),
    ("size: 4B", "size: 4B\nsize: 8B", 3, "key 'size' stands here again, first on line 2; keep one of them"),
    ("size: 4B", "size: !!python/name:os 4B", 2, "the tag 'tag:yaml.org,2002:python/name:os' has no meaning here; "
     "write a plain value"),
    ("size: 4B", "? [a]\n: 1", 2, "a key is not plain text; write `key: value`"),
    ("size: 4B", "size: 4B\n\tseed: 1", 3, "not valid YAML: found character '\\t' that cannot start any token while "
     "scanning for the next token; indent with spaces, not tabs"),
    ("size: 4B", "size: \"4B", 11, "not valid YAML: found unexpected end of stream while scanning a quoted scalar; "
     "check indentation, colons and quotes there"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "message"), WRONG, ids=[new[:24] for _, new, _, _ in WRONG])
def test_a_wrong_manifest_is_told_in_one_line(folder, old, new, line, message):
    folder.edit(old, new)
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder.yaml)
    assert str(caught.value) == f"{folder.yaml}:{line}: " + message.format(root=folder.root)
    assert str(check_manifest(folder.root)[0]) == str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": the file is empty"),
        ("run: a\nsize: \x00b\n", ":2: the character '\\x00' has no place in a text file; delete it"),
        ("# nothing\n", ": the file is empty"),
        ("- a\n", ":1: the file is a list where keys belong; start with `run: an-id`"),
        ("just text\n", ":1: the file is 'just text' where keys belong; start with `run: an-id`"),
        ("a: 1\n---\nb: 2\n", ":2: not valid YAML: but found another document expected a single document in the "
         "stream; check indentation, colons and quotes there"),
        ("[" * 600, ": nested too deeply to be a manifest"),
        ("size: !!int abc\n", ": holds a value that its tag does not fit "
         "(invalid literal for int() with base 10: 'abc')"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_manifest(folder, text, message):
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder.write(text))
    assert str(caught.value) == f"{folder.yaml}{message}"


def test_text_that_is_not_utf8(folder):
    folder.yaml.write_bytes(b"run: \xff\xfe\n")
    with pytest.raises(ManifestError, match=r"run\.yaml: not UTF-8 text at byte 5; save it as UTF-8"):
        load_manifest(folder.yaml)


LIST = "give a list with one `{task: ..., state: ...}` a step, in order"


def steps_replaced(folder, steps):
    return folder.write(folder.yaml.read_text().partition("steps:")[0] + steps)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("steps: []\n", f":7: 'steps' is an empty list; {LIST}"),
        ("steps:\n", f":7: 'steps' is empty; {LIST}"),
        ("steps: 3\n", f":7: 'steps' is the number 3; {LIST}"),
        ("steps:\n  - biology\n", ":8: step 1: a step is 'biology'; write `{task: ..., state: ...}`"),
        ("steps:\n  - {task: a, state: }\n", ":8: step 1: 'state' is empty; give the checkpoint after this step"),
        ("steps:\n  - {task: a, state: state_1, 5: x}\n",
         ":8: step 1: unknown key '5'; known keys: task, state, expert"),
    ],
)  # fmt: skip
def test_wrong_steps(folder, steps, message):
    with pytest.raises(ManifestError) as caught:
        load_manifest(steps_replaced(folder, steps))
    assert str(caught.value) == f"{folder.yaml}{message}"
    assert caught.value.step == (None if ":7:" in message else 1)


def test_no_manifest(folder, tmp_path):
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "nowhere")
    assert str(caught.value) == (
        f"{tmp_path}/nowhere: there is no such manifest; `geodiag init FOLDER` drafts one from a folder of checkpoints"
    )
    folder.yaml.rename(folder.root / "run.yml")
    with pytest.raises(ManifestError, match=r"run: the manifest is named run\.yml; rename it to run\.yaml"):
        load_manifest(folder.root)


def test_check_gives_every_error(folder):
    folder.edit("state_2", "state_9")
    folder.edit("expert_3", "expert_9")
    folder.edit("task: math", "task: law_2")
    errors = check_manifest(folder.yaml)
    assert all(isinstance(error, GeodiagError) for error in errors)
    assert [error.what.split(" ")[0] for error in errors] == ["task", "'state':", "'expert':"]
    assert [error.step for error in errors] == [3, 2, 3]


def test_check_gives_every_wrong_key(folder):
    folder.edit("size: 4B", "sise: 4B")
    folder.edit("task: math", "task: [1]")
    whats = [error.what for error in check_manifest(folder.yaml)]
    assert whats == ["unknown key 'sise'", "key 'size' is missing", "'task' is a list"]


def test_check_reads_the_scores(folder):
    assert check_manifest(folder.yaml) == []
    folder.scores("step,task,score\n9,math,0.1\n")
    (error,) = check_manifest(folder.yaml)
    assert error.what == "step 9 is not a step of the run"


def test_anchors_and_dates_are_plain_yaml(folder):
    folder.edit("task: math", "task: 2024-01-01")
    folder.edit("size: 4B", "size: &label 4B")
    folder.edit("method: EWC", "method: *label")
    manifest = load_manifest(folder.yaml)
    assert (manifest.method, manifest.steps[1].label) == ("4B", "2024-01-01")


def test_aliases_within_aliases_stay_cheap(folder):
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
    with pytest.raises(ManifestError, match=r"run\.yaml:1: unknown key 'a0'"):
        load_manifest(folder.write(bomb))


def test_manifests_are_found_sorted_through_links_but_not_in_hidden_folders(folder, tmp_path):
    for name in ("b", "a/deep", ".hidden"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.yaml").touch()
    (tmp_path / "runs" / "linked").symlink_to(folder.root)
    (tmp_path / "runs" / "loop").symlink_to(tmp_path / "runs")
    found = find_manifests(tmp_path / "runs")
    assert [str(path.relative_to(tmp_path / "runs")) for path in found] == [
        "a/deep/run.yaml", "b/run.yaml", "linked/run.yaml",
    ]  # fmt: skip
    assert find_manifests(folder.root) == [folder.yaml]
    assert find_manifests(folder.yaml) == [folder.yaml]


def test_nothing_to_find(tmp_path):
    with pytest.raises(ManifestError) as caught:
        find_manifests(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no run.yaml here or below; `geodiag init FOLDER` drafts one from a folder of checkpoints"
    )
    with pytest.raises(ManifestError, match=r"no: no such file or folder; give a folder with a run\.yaml in it"):
        find_manifests(tmp_path / "no")


def test_two_runs_with_one_id(folder, tmp_path):
    one = load_manifest(folder.yaml)
    two = one.model_copy(update={"path": tmp_path / "other" / "run.yaml"})
    three = one.model_copy(update={"run": "x", "path": tmp_path / "third" / "run.yaml"})
    (error,) = check_unique_runs([one, two, three])
    assert str(error) == (
        f"{tmp_path}/other/run.yaml: run id 'tiny-ewc' is taken by {folder.yaml}; give each run its own id"
    )
    assert check_unique_runs([one, three]) == []
