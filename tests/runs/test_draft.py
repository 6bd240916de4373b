"""Drafting a run.yaml from what lies in a folder."""

import json

import pytest

from geodiag.cli import main
from geodiag.errors import ManifestError
from geodiag.runs import draft_manifest, load_manifest, write_draft


def make(root, *names, **files):
    for name in names:
        (root / name).mkdir(parents=True)
    for name, data in files.items():
        (root / name).write_text(json.dumps(data))
    return root


def adapters(root, *names, base="Qwen/Qwen3-4B"):
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    return root


def drafted(folder):
    draft = draft_manifest(folder)
    write_draft(draft)
    return draft


def filled(folder, **values):
    """The drafted manifest with what was to fill in replaced, key by key."""
    text = (folder / "run.yaml").read_text()
    for key, value in values.items():
        assert f"{key}: FILL_IN" in text
        text = text.replace(f"{key}: FILL_IN", f"{key}: {value}")
    (folder / "run.yaml").write_text(text)
    return load_manifest(folder)


def steps_of(manifest):
    return [(step.label, step.state.name) for step in manifest.steps]


def test_step_folders(tmp_path):
    folder = make(tmp_path / "my run", "step_02_law", "step_01_high-school", "step_10_math", "base", "logs", ".cache")
    drafted(folder)
    text = (folder / "run.yaml").read_text()
    assert text.startswith("# Drafted from folders named step_NN_task. Replace every FILL_IN;")
    assert "  - {task: law, state: step_02_law}\n" in text
    # Steps 3 to 9 are not there: marked, since nothing says what they trained.
    assert text.count("{task: FILL_IN, state: FILL_IN}") == 7
    assert "  - {task: FILL_IN, state: FILL_IN}  # there is no folder of step 3\n" in text


def test_a_whole_run_needs_only_size_and_method(tmp_path):
    folder = make(tmp_path / "ewc", "step_1_law", "step_2_math")
    make(tmp_path, "base", "experts/01_law", "experts/02_Math")
    make(folder, "scores", "results")  # the first of them is empty
    (folder / "results/results_1.json").touch()
    draft = drafted(folder)
    assert draft.to_fill_in == (
        "size: FILL_IN  # the label of the model size, such as 4B",
        "method: FILL_IN  # the label of the training method, such as EWC",
    )
    manifest = filled(folder, size="4B", method="EWC")
    assert (manifest.run, manifest.updates, manifest.memory) == ("ewc", "experts", "all")
    assert manifest.base == tmp_path / "base"
    assert steps_of(manifest) == [("law", "step_1_law"), ("math", "step_2_math")]
    assert [step.expert for step in manifest.steps] == [tmp_path / "experts/01_law", tmp_path / "experts/02_Math"]
    assert manifest.scores == folder / "results"


def test_an_expert_that_is_not_there_is_marked(tmp_path):
    folder = make(tmp_path, "step_1_law", "step_2_math", "experts/law")
    assert "  - {task: math, state: step_2_math, expert: FILL_IN}" in drafted(folder).text


def test_step_zero_is_the_base(tmp_path):
    draft = drafted(make(tmp_path, "step_00", "step_01_law"))
    assert (draft.base, len(draft.steps)) == ("step_00", 1)


def test_trainer_folders_in_the_order_of_their_numbers(tmp_path):
    folder = make(tmp_path / "Qwen3-8B-sft", "checkpoint-1000", "checkpoint-500", "checkpoint-90", "base_model")
    draft = drafted(folder)
    assert draft.size == "8B"
    assert [step.state for step in draft.steps] == ["checkpoint-90", "checkpoint-500", "checkpoint-1000"]
    assert draft.to_fill_in[1:] == (
        "- {task: FILL_IN, state: checkpoint-90}",
        "- {task: FILL_IN, state: checkpoint-500}",
        "- {task: FILL_IN, state: checkpoint-1000}",
    )


def test_adapters_without_numbers_have_no_order(tmp_path):
    folder = adapters(tmp_path / "loras", "math", "law")
    draft = drafted(folder)
    assert draft.size == "4B"
    assert (
        "base: FILL_IN  # the checkpoint that the run started from; the checkpoints name Qwen/Qwen3-4B\n" in draft.text
    )
    assert (
        "steps:\n  - FILL_IN  # put the steps into the order in which they were trained, then delete this line\n"
        "  - {task: law, state: law}\n  - {task: math, state: math}\n"
    ) in draft.text


def test_adapters_with_numbers_and_a_base_on_disk(tmp_path):
    make(tmp_path, "models/qwen")
    folder = adapters(tmp_path / "loras", "2_law", "10_physics", "1_math", base=str(tmp_path / "models/qwen"))
    drafted(folder)
    manifest = filled(folder, size="4B", method="LoRA")
    assert steps_of(manifest) == [("math", "1_math"), ("law", "2_law"), ("physics", "10_physics")]
    assert manifest.base == tmp_path / "models/qwen"


GCWM = {
    "mode": "gcwm", "memory_mode": "all_history", "memory_size": -1, "task_names": ["step_01_biology", "02_business"],
    "continual_step_coef": 0.2, "step_decay": 1.0, "old_weight": 1.0, "new_weight": 1.0,
    "steps": [
        {"step": 1, "new_task": "step_01_biology", "active_task_names": ["step_01_biology"],
         "active_task_weights": [1.0], "num_active_tasks": 1, "step_coef": 0.2,
         "save_dir": "/cluster/merged/step_01_step_01_biology"},
        {"step": 2, "new_task": "02_business", "active_task_names": ["step_01_biology", "02_business"],
         "active_task_weights": [1.0, 1.0], "num_active_tasks": 2, "step_coef": 0.2,
         "save_dir": "/cluster/merged/step_02_02_business"},
    ],
}  # fmt: skip


def gcwm(tmp_path, **changes):
    folder = make(tmp_path / "gcwm-4B", "step_01_step_01_biology", "step_02_02_business")
    return make(folder, **{"continual_gcwm_stats.json": GCWM | changes})


def test_the_folder_of_a_merge(tmp_path):
    folder = gcwm(tmp_path)
    make(tmp_path, "base", "experts/01_biology", "experts/02_business")
    assert drafted(folder).to_fill_in == ()
    manifest = load_manifest(folder)
    assert (manifest.method, manifest.size, manifest.updates, manifest.memory) == ("GCWM", "4B", "experts", "all")
    assert steps_of(manifest) == [("biology", "step_01_step_01_biology"), ("business", "step_02_02_business")]
    assert [step.expert.name for step in manifest.steps] == ["01_biology", "02_business"]


@pytest.mark.parametrize(
    ("mode", "size", "memory"),
    [("all_history", 3, 3), ("all_history", -1, "all"), ("all_history", None, "all"), ("current_anchor", -1, "anchor")],
)
def test_memory_of_a_merge(tmp_path, mode, size, memory):
    folder = gcwm(tmp_path, memory_mode=mode, memory_size=size)
    make(tmp_path, "base", "experts/01_biology", "experts/02_business")
    drafted(folder)
    assert load_manifest(folder).memory == memory


def test_an_anchor_is_known_by_its_name_too(tmp_path):
    steps = [GCWM["steps"][0], GCWM["steps"][1] | {"active_task_names": ["merged_until_1", "02_business"]}]
    assert drafted(gcwm(tmp_path, memory_mode=None, steps=steps)).memory == "anchor"


def test_what_a_merge_does_not_tell_is_marked(tmp_path):
    steps = [GCWM["steps"][0] | {"save_dir": None}, GCWM["steps"][1] | {"save_dir": "/gone/step_02_x"}]
    assert drafted(gcwm(tmp_path, steps=steps)).to_fill_in == (
        "base: FILL_IN  # the checkpoint that the run started from",
        "- {task: biology, state: FILL_IN, expert: FILL_IN}  # its state was not saved",
        "- {task: business, state: FILL_IN, expert: FILL_IN}  # was saved as /gone/step_02_x",
    )


def test_the_last_model_of_a_merge_lies_in_the_folder_itself(tmp_path):
    steps = [GCWM["steps"][0], GCWM["steps"][1] | {"save_dir": None}]
    folder = make(gcwm(tmp_path, steps=steps), **{"config.json": {}})
    assert drafted(folder).steps[-1].state == "."


@pytest.mark.parametrize(
    ("stats", "line"),
    [
        ({"steps": []}, "lists no steps; give the folder of a continual merge that ended"),
        ([], "not a JSON object; copy or download it again"),
        (GCWM | {"memory_mode": "some"}, "memory mode 'some'; known are all_history and current_anchor"),
        ({"steps": [{"step": 1}]}, "step 1 names no task; add its `new_task`"),
    ],
)
def test_statistics_that_are_none(tmp_path, stats, line):
    make(tmp_path, **{"continual_gcwm_stats.json": stats})
    with pytest.raises(ManifestError) as caught:
        draft_manifest(tmp_path)
    assert str(caught.value) == f"{tmp_path}/continual_gcwm_stats.json: {line}"


def test_statistics_that_are_damaged(tmp_path):
    (tmp_path / "continual_gcwm_stats.json").write_text('{"steps": [')
    with pytest.raises(
        ManifestError, match=r"continual_gcwm_stats.json:1: not valid JSON: .*; copy or download it again$"
    ):
        draft_manifest(tmp_path)


def test_names_are_quoted_where_yaml_needs_it(tmp_path):
    folder = make(tmp_path / "1 & 2", "step_1_a, b", "step_2_no", "step_3_C#: {x}", "base")
    drafted(folder)
    manifest = filled(folder, size="1B", method="EWC")
    assert [step.label for step in manifest.steps] == ["a, b", "no", "C#: {x}"]
    assert manifest.run == "1-2"


KNOWN = (
    "known are the folder of a GCWM merge with its continual_gcwm_stats.json; folders named step_NN_task; folders "
    "named checkpoint-N; a folder of LoRA adapters"
)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ((), f"no known layout of checkpoints; {KNOWN}"),
        (("base", "logs"), f"no known layout of checkpoints; {KNOWN}"),
        (("a/checkpoint-1", "b/step_1_x", "c/d"), "no run itself, but its folders are; draft one run at a time: a, b"),
        (("step_1_a", "step_01_b"), "step_01_b and step_1_a are both number 1; keep one of them in the folder, or "
         "number them apart"),
    ],
)  # fmt: skip
def test_folders_that_give_no_draft(tmp_path, names, line):
    make(tmp_path, *names)
    with pytest.raises(ManifestError) as caught:
        draft_manifest(tmp_path)
    assert str(caught.value) == f"{tmp_path}: {line}"


def test_no_folder(tmp_path):
    with pytest.raises(ManifestError) as caught:
        draft_manifest(tmp_path / "none")
    assert str(caught.value) == f"{tmp_path}/none: no such folder; give a folder of checkpoints"


def test_a_manifest_with_marked_lines_is_refused_in_one_line(tmp_path):
    folder = make(tmp_path, "checkpoint-1", "checkpoint-2")
    drafted(folder)
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder)
    lines = (folder / "run.yaml").read_text().splitlines()
    marked = [n for n, line in enumerate(lines, start=1) if "FILL_IN" in line.partition("#")[0]]
    assert len(marked) == 5  # size, method, base, and two tasks
    assert str(caught.value) == (
        f"{folder}/run.yaml:{marked[0]}: 5 lines are still to fill in (lines {', '.join(map(str, marked))}); replace "
        "every FILL_IN"
    )


def test_one_marked_line(folder):
    folder.edit("size: 4B", "size: FILL_IN")
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder.yaml)
    assert str(caught.value) == f"{folder.yaml}:2: 1 line is still to fill in (line 2); replace every FILL_IN"


def test_a_manifest_is_overwritten_only_when_asked_to(tmp_path, capsys):
    folder = make(tmp_path, "checkpoint-1", "base")
    (folder / "run.yaml").write_text("run: mine\n")
    with pytest.raises(SystemExit) as stopped:
        main(["init", str(folder)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        f"geodiag: {folder}/run.yaml: there is a run.yaml already; pass --overwrite to replace it\n"
    )
    assert (folder / "run.yaml").read_text() == "run: mine\n"
    with pytest.raises(SystemExit) as stopped:
        main(["init", str(folder), "--overwrite"])
    assert not stopped.value.code
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}/run.yaml: 1 step, drafted from a Trainer's folders named checkpoint-N",
        "to fill in: size: FILL_IN  # the label of the model size, such as 4B",
        "to fill in: method: FILL_IN  # the label of the training method, such as EWC",
        "to fill in: - {task: FILL_IN, state: checkpoint-1}",
    ]


def test_a_manifest_that_cannot_be_written(tmp_path):
    folder = make(tmp_path, "checkpoint-1", "run.yaml")
    with pytest.raises(ManifestError) as caught:
        write_draft(draft_manifest(folder), overwrite=True)
    assert str(caught.value) == f"{folder}/run.yaml: cannot be written (Is a directory)"


def test_statistics_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(self, **_):
        raise PermissionError(13, "Permission denied")

    gcwm(tmp_path)
    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    with pytest.raises(ManifestError, match=r"continual_gcwm_stats.json: cannot be read \(Permission denied\)$"):
        draft_manifest(tmp_path / "gcwm-4B")
