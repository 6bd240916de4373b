"""Scores from evaluation harnesses: files that lm-evaluation-harness 0.4.13 itself wrote, and the others' formats."""

import builtins
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from geodiag.errors import ScoresError
from geodiag.runs import check_run, load_manifest, load_scores, read_scores, score_notes
from geodiag.runs.scores import loading
from geodiag.runs.scores.source import (
    Metric,
    RawScore,
    ResultsFile,
    ResultsReader,
    SourceScores,
    TableReader,
    TaskResult,
)

WRITTEN = Path(__file__).parent / "lm_eval"
"""Two evaluations of a dummy model on three tasks, two of them a group; the second with `--limit 5`."""
FILE_1 = "step_1/__data__run__step_1/results_2026-11-22T07-12-30.006627.json"
FILE_2 = "step_2/__data__run__step_2/results_2026-11-22T07-12-31.190637.json"
RUN = """\
run: tiny
size: 4B
method: EWC
base: ../base
updates: increments
scores: results
steps:
  - {task: bio, state: state_1}
  - {task: law, state: state_2}
  - {task: sums, state: state_3}
"""
METRIC = "score_metric: acc | exact_match,strict-match\nsteps:"


@pytest.fixture
def run(folder):
    folder.write(RUN.replace("steps:", METRIC))
    folder.results = folder.root / "results"
    return folder


@pytest.fixture
def written(run):
    shutil.copytree(WRITTEN, run.results)
    return run


def loaded(run):
    return load_scores(load_manifest(run.yaml))


def error_of(run):
    with pytest.raises(ScoresError) as caught:
        loaded(run)
    return str(caught.value)


def notes_of(run):
    manifest = load_manifest(run.yaml)
    return [note.removeprefix("run tiny: ") for note in score_notes(manifest, load_scores(manifest))]


def edit(file, **changes):
    """Sets keys of a results file, given as `a__b=value` for data["a"]["b"]."""
    data = json.loads(file.read_text())
    for path, value in changes.items():
        *way, last = path.split("__")
        place = data
        for key in way:
            place = place[key]
        place[last] = value
    file.write_text(json.dumps(data))
    return file


def save(file, data):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


def lm_eval(tasks, *, date=0.0, n_shot=0, model_args="pretrained=/elsewhere/model", **more):
    """The parts of a harness file that are read."""
    return {
        "results": {name: {"alias": name, **metrics} for name, metrics in tasks.items()},
        "group_subtasks": {},
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": dict.fromkeys(tasks, n_shot),
        "higher_is_better": {},
        "n-samples": {name: {"original": 50, "effective": 50} for name in tasks},
        "config": {"model": "hf", "model_args": model_args, "limit": None},
        "date": date,
    } | more


def test_what_the_harness_wrote(written):
    # The tasks go by their aliases bio and law; the group `exam`, a mean of both, is not counted beside them.
    assert loaded(written).rows() == [
        (1, "bio", 0.45, 0.11413288653790232, 20),
        (1, "law", 0.4, 0.11239029738980327, 20),
        (1, "sums", 0.0, 0.0, 20),
        (2, "bio", 0.4, 0.24494897427831783, 5),
        (2, "law", 0.8, 0.19999999999999998, 5),
        (2, "sums", 0.0, 0.0, 5),
    ]


def test_a_limit_and_what_differs_between_steps_are_told(written):
    assert notes_of(written) == [
        "3 of 6 scores of trained tasks are missing, first step 3, task bio",
        "the base (step 0) is not scored, so there is no forward transfer",
        "limit differs between steps for bio, law, sums: none at step 1, 5 at step 2; scores may not compare",
        "evaluated on a part of the examples only (limit 5)",
    ]


def test_a_group_counts_where_it_is_trained(written):
    written.edit("task: bio", "task: exam")
    exam = loaded(written).filter(task="exam")
    assert exam.rows() == [(1, "exam", 0.425, 0.08009040943964843, 40), (2, "exam", 0.6, 0.15811388300841897, 10)]


def test_metric_and_filter_are_chosen(written):
    edit(
        written.results / FILE_1, results__sums={"exact_match,strict-match": 0.25, "exact_match,flexible-extract": 0.5}
    )
    assert loaded(written).filter(task="sums", step=1)["score"].item() == 0.25
    written.edit("acc | exact_match,strict-match", "exact_match, flexible-extract | acc_norm")
    assert loaded(written).filter(task="sums", step=1)["score"].item() == 0.5


@pytest.mark.parametrize(
    ("metric", "line"),
    [
        (None, "task exam_bio: run tiny: it has 2 metrics; say `score_metric: ...` in run.yaml with one of: acc,none "
         "| acc_norm,none (several, with | between)"),
        ("f1", "task exam_bio: run tiny: it has no metrics that `score_metric: f1` means; say `score_metric: ...` in "
         "run.yaml with one of: acc,none | acc_norm,none"),
        ("acc | exact_match", "task sums: run tiny: it has 2 metrics that `score_metric: acc | exact_match` means; "
         "say `score_metric: ...` in run.yaml with one of: exact_match,strict-match | exact_match,flexible-extract"),
    ],
)  # fmt: skip
def test_an_unclear_metric_of_a_trained_task(written, metric, line):
    written.write(RUN if metric is None else RUN.replace("steps:", f"score_metric: {metric}\nsteps:"))
    assert error_of(written) == f"{written.results / FILE_1}: {line}"


def test_a_metric_that_falls_when_things_get_better_is_no_score(run):
    tasks = {"bio": {"word_perplexity,none": 0.5}}
    file = save(
        run.results / "step_1/results_1.json", lm_eval(tasks, higher_is_better={"bio": {"word_perplexity": False}})
    )
    run.edit(METRIC, "steps:")
    assert error_of(run) == (
        f"{file}: task bio: run tiny: a lower word_perplexity,none is better, so it is no score; name another in "
        "`score_metric`"
    )


def test_untrained_tasks_are_kept_where_their_metric_is_clear(run):
    tasks = {"bio": {"acc,none": 0.5}, "physics": {"acc,none": 0.25}, "wiki": {"bits": 1.5, "bytes": 2.5}}
    save(run.results / "step_1/results_1.json", lm_eval(tasks))
    assert loaded(run).select("task", "score").rows() == [("bio", 0.5), ("physics", 0.25)]
    assert notes_of(run)[-1] == "left out, scored but not trained and without a clear metric: wiki"


def test_a_standard_error_that_is_not_defined_is_null(run):
    row = {"acc,none": 0.5, "acc_stderr,none": "N/A"}
    nan = {"acc,none": 0.5, "acc_stderr,none": float("nan")}
    save(run.results / "step_1/results_1.json", lm_eval({"bio": row, "law": nan}))
    assert loaded(run)["stderr"].to_list() == [None, None]


def test_names_without_a_filter_as_before_version_0_4(run):
    old = lm_eval({"bio": {"acc": 0.5, "acc_stderr": 0.125}})
    save(run.results / "step_1/results.json", old)
    assert loaded(run).rows() == [(1, "bio", 0.5, 0.125, 50)]


def test_the_newest_of_several_files_counts_and_is_told(run):
    save(
        run.results / "step_1/results_b.json", lm_eval({"bio": {"acc,none": 0.1}, "law": {"acc,none": 0.2}}, date=100.0)
    )
    new = save(run.results / "step_1/results_a.json", lm_eval({"bio": {"acc,none": 0.5}}, date=200.0))
    assert loaded(run).select("task", "score").rows() == [("bio", 0.5), ("law", 0.2)]
    assert notes_of(run)[-1] == (f"1 score stands in several files; the newest counts, as at step 1, task bio: {new}")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"n_shot": 5}, "n-shot differs between steps for bio: 0 at step 1, 5 at step 2; scores may not compare"),
        ({"versions": {"bio": 2.0}},
         "version differs between steps for bio: 1.0 at step 1, 2.0 at step 2; scores may not compare"),
        ({"task_hashes": {"bio": "ffffffff00"}},
         "task hash differs between steps for bio: 12345678 at step 1, ffffffff at step 2; scores may not compare"),
    ],
    ids=["n-shot", "version", "task hash"],
)  # fmt: skip
def test_other_conditions_at_another_step_are_told(run, changes, line):
    before = {"task_hashes": {"bio": "1234567800"}}
    save(run.results / "step_1/results_1.json", lm_eval({"bio": {"acc,none": 0.1}}, **before))
    save(run.results / "step_2/results_1.json", lm_eval({"bio": {"acc,none": 0.1}}, **(before | changes)))
    assert [note for note in notes_of(run) if "differs" in note] == [line]


@pytest.mark.parametrize(
    ("name", "model", "step"),
    [
        ("step_02", None, 2),
        ("2", None, 2),
        ("step_2_law", None, 2),
        ("base", None, 0),
        ("Base-Model", None, 0),
        ("step_0", None, 0),
        ("state_3", None, 3),
        ("{root}__state_2", None, 2),  # what the harness makes of the checkpoint's path
        ("any", "{root}/state_3", 3),
        ("any", "elsewhere/run/state_2", 2),
        ("any", "peft={root}/state_1,pretrained={root}/../base", 1),
        ("any", {"pretrained": "{root}/state_2", "dtype": "auto"}, 2),
        ("any", "{root}/../base", 0),
    ],
)
def test_which_step_a_file_is_of(run, name, model, step):
    root = str(run.root)
    filled = {k: v.format(root=root) for k, v in model.items()} if isinstance(model, dict) else None
    if isinstance(model, str):
        text = model.format(root=root).replace(f"{root}/..", str(run.root.parent))
        filled = text if "=" in text else f"pretrained={text},dtype=auto"
    name = name.format(root=root.replace("/", "__"))
    save(run.results / name / "results_1.json", lm_eval({"bio": {"acc,none": 0.1}}, model_args=filled))
    assert loaded(run)["step"].to_list() == [step]


def test_a_file_of_no_step(run):
    file = save(run.results / "first/results_1.json", lm_eval({"bio": {"acc,none": 0.1}}))
    assert error_of(run) == (
        f"{file}: neither its folder nor its model says which step it is of; put each step's results into a folder "
        "`step_N` (`step_0` or `base` for the base)"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"results": ', ":1: not valid JSON: Expecting value; copy or download it again"),
        ("[1]", ": not a JSON object; copy or download it again"),
        ('{"versions": {}}', ": holds no object 'results'; give a results_*.json of a whole evaluation"),
        (
            '{"results": {}}',
            ": its keys are not those of a results file; give one of lighteval or lm-evaluation-harness",
        ),
    ],
)
def test_files_that_are_no_results(run, text, line):
    file = save(run.results / "step_1/results_1.json", text)
    assert error_of(run) == f"{file}{line}"


def test_a_folder_by_the_name_of_a_file(run):
    (run.results / "step_1/results_1.json").mkdir(parents=True)
    assert error_of(run) == f"{run.results}/step_1/results_1.json: cannot be read (Is a directory)"


def test_a_folder_without_results_in_it(run):
    run.results.mkdir()
    assert error_of(run).startswith(f"{run.results}: a folder: not a known shape of scores; supported are long: ")


def test_percentages_in_a_folder_have_to_be_said(run):
    file = save(run.results / "step_1/results_1.json", lm_eval({"bio": {"acc,none": 61.5, "acc_stderr,none": 2.5}}))
    assert error_of(run) == (
        f"{file}: task bio: acc,none: run tiny: score 61.5 of task bio is outside 0..1; if the scores are "
        "percentages, say `score_scale: percent` in run.yaml"
    )
    run.edit("steps:", "score_scale: percent\nsteps:")
    assert loaded(run).rows() == [(1, "bio", 0.615, 0.025, 50)]


LIGHTEVAL = {
    "config_general": {
        "lighteval_sha": "?", "num_fewshot_seeds": 1, "max_samples": 100, "job_id": "", "start_time": 1.0,
        "end_time": 2.0, "total_evaluation_time_secondes": "1.0", "model_config": {"model_name": "somewhere/state_2"},
        "model_name": "somewhere/state_2",
    },
    "results": {
        "leaderboard|bio|5": {"acc": 0.5, "acc_stderr": 0.05},
        "mmlu:law|0": {"acc": 0.25, "acc_stderr": 0.025},
        "mmlu:_average|0": {"acc": 0.25, "acc_stderr": 0.025},
        "all": {"acc": 0.375, "acc_stderr": 0.03},
    },
    "versions": {"leaderboard|bio|5": 0, "mmlu:law|0": 0},
    "config_tasks": {"leaderboard|bio": {"name": "bio", "effective_num_docs": 80}, "mmlu:law|0": "LM Harness task"},
    "summary_tasks": {}, "summary_general": {},
}  # fmt: skip


def test_lighteval(run):
    save(run.results / "results/somewhere/state_2/results_2026-01-02T03-04-05.123456.json", LIGHTEVAL)
    assert loaded(run).rows() == [(2, "bio", 0.5, 0.05, 80), (2, "law", 0.25, 0.025, None)]
    assert notes_of(run)[-1] == "evaluated on a part of the examples only (limit 100)"


def test_the_newest_lighteval_file_is_known_by_its_name(run):
    for day, score in ((2, 0.25), (11, 0.75), (3, 0.5)):
        data = LIGHTEVAL | {"results": {"bio|5": {"acc": score}}}
        save(run.results / f"step_1/results_2026-01-{day:02d}T00-00-00.json", data)
    assert loaded(run)["score"].to_list() == [0.75]


SUMMARY = """\
dataset,version,metric,mode,{models}
--------- exams ---------,-,-,-,-,-,-
bio,1d7fe4,accuracy,gen,25.00,50.00,75.00
law,8aa3d3,accuracy,ppl,-,30.00,40.00
sums,1d7fe4,accuracy,gen,1.00,2.00,3.00
exams,-,naive_average,gen,26.00,52.00,78.00
"""


@pytest.fixture
def summary(run):
    run.write(RUN.replace("results", "summary.csv").replace("steps:", "score_scale: percent\nsteps:"))
    run.summary = run.root / "summary.csv"
    run.summary.write_text(SUMMARY.format(models="state_1,state_3,base"))
    return run


def test_an_opencompass_summary_with_a_model_a_step(summary):
    assert loaded(summary).select("step", "task", "score").rows() == [
        (0, "bio", 0.75), (0, "law", 0.4), (0, "sums", 0.03),
        (1, "bio", 0.25), (1, "sums", 0.01),
        (3, "bio", 0.5), (3, "law", 0.3), (3, "sums", 0.02),
    ]  # fmt: skip


def test_models_with_other_names_are_the_steps_in_order(summary):
    summary.summary.write_text(SUMMARY.format(models="a,b,c"))
    assert loaded(summary)["step"].unique().to_list() == [1, 2, 3]
    summary.summary.write_text("dataset,version,metric,mode,p,q,r,s\nbio,1d7fe4,accuracy,gen,1,2,3,4\n")
    assert loaded(summary)["step"].to_list() == [0, 1, 2, 3]


def test_what_differs_between_models_of_a_summary_is_told(summary):
    text = "dataset,version,metric,mode,a,b,c\nbio,1d7fe4,accuracy,gen,1,2,3\nother,-,x,-,1,2,3\nphysics,v,a,-,1,2,3\n"
    summary.summary.write_text(text + "physics,v,b,-,1,2,3\n")
    assert notes_of(summary)[-1] == "left out, scored but not trained and without a clear metric: physics"
    assert loaded(summary)["task"].unique().to_list() == ["bio"]


def test_an_average_of_opencompass_counts_where_it_is_trained(summary):
    summary.edit("task: bio", "task: exams")
    assert loaded(summary).filter(task="exams")["score"].to_list() == [0.78, 0.26, 0.52]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (SUMMARY.format(models="state_1,b,c"), ": models state_1, b, c for a run of 3 steps; name them as the states' "
         "folders or `step_N`, or give one a step in order, the base first"),
        ("dataset,version,metric,mode,a,b\nbio,1d7fe4,acc,gen,1,2\n", ": models a, b for a run of 3 steps; name them "
         "as the states' folders or `step_N`, or give one a step in order, the base first"),
        ("dataset,version,metric,mode,a,b,c\nbio,v,acc,gen,1,2,3\nbio,v,acc,ppl,1,2,3\n", ":3: dataset bio has its "
         "metric acc a second time; keep one row a dataset and metric"),
        ("dataset,version,metric,mode,a,b,c\nbio,v,acc,gen,1,x,3\n", ":2: score of bio, model b is 'x', not a number; "
         "leave the cell empty when there is no score"),
        ("dataset,version,metric,mode,a,b,c\nbio,v,acc,gen,1,2,3\nbio,v,f1,gen,1,2,3\n", ":2: bio, model a: run tiny: "
         "it has 2 metrics; say `score_metric: ...` in run.yaml with one of: acc | f1 (several, with | between)"),
    ],
)  # fmt: skip
def test_wrong_summaries(summary, text, line):
    summary.summary.write_text(text)
    assert error_of(summary) == f"{summary.summary}{line}"


def test_summaries_in_a_folder_a_step(run):
    run.write(RUN.replace("steps:", "score_scale: percent\nsteps:"))
    for step in (1, 2):
        text = f"dataset,version,metric,mode,some-model\nbio,{step}aaaaa,accuracy,gen,{step}0.00\n"
        save(run.results / f"step_{step}/summary/summary_20260101_000000.csv", text)
    assert loaded(run).select("step", "task", "score").rows() == [(1, "bio", 0.1), (2, "bio", 0.2)]
    assert notes_of(run)[-1] == (
        "version differs between steps for bio: 1aaaaa at step 1, 2aaaaa at step 2; scores may not compare"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("dataset,version,metric,mode,a,b\nbio,v,acc,gen,1,2\n", ": 2 models in one step's summary; name this file "
         "itself in `scores:`, its models being the steps"),
        ("a,b\n1,2\n", ": not an OpenCompass summary; its columns start with dataset, version, metric, mode"),
    ],
)  # fmt: skip
def test_summaries_in_a_folder_that_are_none(run, text, line):
    file = save(run.results / "step_1/summary_1.csv", text)
    assert error_of(run) == f"{file}{line}"


@pytest.fixture
def opened(monkeypatch):
    """How often each file is opened for reading."""
    counts = Counter()
    real = io.open

    def counting(file, *args, **kwargs):
        counts[Path(file).name if isinstance(file, str | Path) else file] += 1
        return real(file, *args, **kwargs)

    monkeypatch.setattr(io, "open", counting)
    monkeypatch.setattr(builtins, "open", counting)
    return counts


def test_scores_and_notes_come_from_one_pass_over_the_files(written, opened):
    manifest = load_manifest(written.yaml)
    opened.clear()
    scores = read_scores(manifest)
    assert opened == {Path(FILE_1).name: 1, Path(FILE_2).name: 1}
    assert scores.frame.equals(load_scores(manifest))
    assert list(scores.notes) == score_notes(manifest, scores.frame)


def test_a_check_opens_the_manifest_and_each_file_of_results_once(written, opened):
    check = check_run(written.yaml)
    assert opened == {"run.yaml": 1, Path(FILE_1).name: 1, Path(FILE_2).name: 1}
    assert check.errors == ()
    assert check.scores.frame.height == 6


def toy_results(data, path):
    metrics = {"acc": Metric(data["accuracy"])}
    return ResultsFile(
        str(path), (0.0, path.name), (), (TaskResult(f"{path}: {data['task']}", (data["task"],), metrics),)
    )


def test_another_format_of_results_is_one_entry(run, monkeypatch):
    run.edit(METRIC, "steps:")
    toy = ResultsReader("toy-eval", "toy_*.json", "toy_*.json", toy_results, lambda data: "accuracy" in data)
    monkeypatch.setattr(loading, "READERS", (*loading.READERS, toy))
    save(run.results / "step_1/toy_1.json", {"task": "bio", "accuracy": 0.5})
    save(run.results / "step_2/results_1.json", lm_eval({"bio": {"acc,none": 0.25}}))
    assert loaded(run).select("step", "task", "score").rows() == [(1, "bio", 0.5), (2, "bio", 0.25)]
    file = save(run.results / "step_1/toy_1.json", {"task": "bio"})
    assert error_of(run) == f"{file}: its keys are not those of a results file; give one of toy-eval"
    shutil.rmtree(run.results)
    run.results.mkdir()
    assert error_of(run).endswith("or of OpenCompass summaries, or of toy-eval toy_*.json, with a subfolder a step")


def test_another_format_of_tables_is_one_entry(run, monkeypatch):
    def read(source, manifest):
        return SourceScores([RawScore(row.where, 1, manifest.tasks[0], row.cells[0]) for row in source.rows], ["a toy"])

    toy = TableReader("toy", "CSV with the column accuracy", lambda source: source.folded == ("accuracy",), read)
    monkeypatch.setattr(loading, "READERS", (*loading.READERS, toy))
    run.write(RUN.replace("results", "scores.parquet"))
    pl.DataFrame({"accuracy": [0.5]}).write_parquet(run.root / "scores.parquet")
    assert loaded(run).select("step", "task", "score").rows() == [(1, "bio", 0.5)]
    assert notes_of(run)[-1] == "a toy"
