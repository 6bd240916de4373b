from decimal import Decimal

import polars as pl
import pytest

from geodiag.errors import ScoresError
from geodiag.runs import SCORES_SCHEMA, load_manifest, load_scores, score_notes, unscored_tasks, untrained_tasks
from geodiag.runs.scores.loading import READERS
from geodiag.runs.scores.source import ScoreSource


def scores_of(folder, text=None):
    if text is not None:
        folder.scores(text)
    return load_scores(load_manifest(folder.yaml))


def error_of(folder, text=None):
    with pytest.raises(ScoresError) as caught:
        scores_of(folder, text)
    return str(caught.value)


def triples(frame):
    return frame.select("step", "task", "score").rows()


def test_long_scores_fold_tasks_sort_and_leave_out_empty_cells(folder):
    frame = scores_of(
        folder, "step,task,score\n1,High-School,0.5\n0,math,\n0,high school,0.25\n1,Average,1\n2,math,0\n"
    )
    assert triples(frame) == [
        (0, "high_school", 0.25),
        (1, "high_school", 0.5),
        (1, "overall", 1.0),
        (2, "math", 0.0),
    ]
    assert dict(frame.schema) == SCORES_SCHEMA
    assert frame["stderr"].null_count() == frame["n"].null_count() == 4


def test_long_scores_may_carry_stderr_and_n(folder):
    folder.edit("updates:", "score_scale: percent\nupdates:")
    frame = scores_of(folder, "n,score,step,stderr,task\n400,50,1,2.5,math\n,25,2,,math\n")
    assert frame.rows() == [(1, "math", 0.5, 0.025, 400), (2, "math", 0.25, None, None)]


def test_wide_scores_with_the_base_in_the_first_row(folder):
    text = (
        "model,overall_accuracy,High School,MATH,physics\nbase,.3,.1,.2,.3\na,.4,.2,.3,\nb,.5,.3,.4,.5\nc,.6,.4,.5,.6\n"
    )
    frame = scores_of(folder, text)
    assert frame["step"].to_list() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert triples(frame.filter(task="math")) == [
        (0, "math", 0.2),
        (1, "math", 0.3),
        (2, "math", 0.4),
        (3, "math", 0.5),
    ]
    assert triples(frame.filter(task="physics")) == [(0, "physics", 0.3), (2, "physics", 0.5), (3, "physics", 0.6)]
    assert frame.filter(task="overall")["score"].to_list() == [0.3, 0.4, 0.5, 0.6]


def test_wide_scores_without_the_base(folder):
    frame = scores_of(folder, "model,math,average\na,.1,.4\nb,.2,.5\nc,.3,.6\n")
    assert triples(frame.filter(task="math")) == [(1, "math", 0.1), (2, "math", 0.2), (3, "math", 0.3)]


def test_wide_scores_with_a_step_column(folder):
    frame = scores_of(folder, "step,math\n3,.1\n1,.2\n")
    assert triples(frame) == [(1, "math", 0.2), (3, "math", 0.1)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spreadsheet_separators_byte_order_mark_and_pandas_index(folder, separator):
    text = "\ufeff,step,task,score\n0,1,math,0.5\n\n , , ,\n1,2,math,0.25\n".replace(",", separator)
    assert triples(scores_of(folder, text)) == [(1, "math", 0.5), (2, "math", 0.25)]


def test_parquet_in_both_shapes(folder):
    folder.edit("scores.csv", "scores.parquet")
    long = pl.DataFrame({"step": [0, 2], "task": ["math", "overall"], "score": [0.5, None], "n": [10, 20]})
    long.write_parquet(folder.root / "scores.parquet")
    assert scores_of(folder).rows() == [(0, "math", 0.5, None, 10)]
    wide = pl.DataFrame({"model": ["a", "b", "c"], "math": [Decimal("0.5"), Decimal("0.25"), None]})
    wide.write_parquet(folder.root / "scores.parquet")
    assert triples(scores_of(folder)) == [(1, "math", 0.5), (2, "math", 0.25)]


def test_a_manifest_without_scores(folder):
    frame = load_scores(load_manifest(folder.edit("scores: scores.csv\n", "")))
    assert frame.is_empty()
    assert dict(frame.schema) == SCORES_SCHEMA


LONG = "step,task,score\n"
WRONG = [
    (LONG + "1,math,61.2\n", ":2: run tiny-ewc: score 61.2 of task math is outside 0..1; if the scores are "
     "percentages, say `score_scale: percent` in run.yaml"),
    (LONG + "1,math,-0.1\n", ":2: run tiny-ewc: score -0.1 of task math is outside 0..1; mend the score"),
    (LONG + "1,math,100.5\n", ":2: run tiny-ewc: score 100.5 of task math is outside 0..1; mend the score"),
    (LONG + "1,math,.5\n4,math,.5\n", ":3: run tiny-ewc: step 4 is not a step of the run; steps go from 0 (the base) "
     "to 3"),
    (LONG + "-1,math,.5\n", ":2: run tiny-ewc: step -1 is not a step of the run; steps go from 0 (the base) to 3"),
    (LONG + "1,math,.5\n\n1,Math,.6\n", ":4: run tiny-ewc: step 1, task math is scored here again, first at "
     "{file}:2; keep one score a step and task"),
    (LONG + "1,math,N/A\n", ":2: score of task math is 'N/A', not a number; leave the cell empty when there is no "
     "score"),
    (LONG + "1,math,nan\n", ":2: score of task math is 'nan', not a number; leave the cell empty when there is no "
     "score"),
    (LONG + "1,math,inf\n", ":2: score of task math is 'inf', not a number; leave the cell empty when there is no "
     "score"),
    (LONG + "1,math,1_0\n", ":2: score of task math is '1_0', not a number; leave the cell empty when there is no "
     "score"),
    (LONG + "1.5,math,1\n", ":2: step is 1.5, not a whole number; number the steps from 1; 0 is the base"),
    (LONG + ",math,1\n", ":2: the step is empty; number the steps from 1; 0 is the base"),
    (LONG + "base,math,1\n", ":2: step is 'base', not a number; leave the cell empty when there is no score"),
    (LONG + "1,,1\n", ":2: the task is empty; name the task that was scored"),
    (LONG + "1,math\n", ":2: 2 cells where the header has 3; give each row one cell a column"),
    (LONG + "1,math,\n", ": run tiny-ewc: every score is empty"),
    (LONG, ": holds no scores; add one row a score, or one row a step"),
    ("", ": the file is empty"),
    ("task,score\nmath,1\n", ": no column 'step'; number the steps from 1; 0 is the base"),
    ("step,task,score,stder\n1,math,1,1\n", ": unknown column 'stder' beside task and score; did you mean 'stderr'?"),
    ("step,task,score,shots\n1,math,1,1\n", ": unknown column 'shots' beside task and score; drop it; known columns: "
     "step, task, score, stderr, n"),
    ("step,task,score,Score\n1,math,1,1\n", ": two columns mean 'score'; keep one of them"),
    ("step,step,task,score\n1,1,math,1\n", ": two columns are named 'step'; give each column its own name"),
    ("step,task,score,\n1,math,1,\n", ": column 4 has no name; name it in the first row, or drop it"),
    ("step,task,score,stderr\n1,math,1,1.5\n", ":2: run tiny-ewc: stderr 1.5 of task math is outside 0..1; give it in "
     "the scale of the scores"),
    ("step,task,score,n\n1,math,1,0.5\n", ":2: run tiny-ewc: n 0.5 of task math is not a number of examples; give a "
     "whole number from 1"),
    (LONG + "1,maths,.5\n1,law,.4\n", ": run tiny-ewc: none of the trained tasks is scored; scored are law, maths; "
     "name columns or tasks as in run.yaml: high_school, math, law_2"),
    (LONG + '1,"math,.5\n', ": not a CSV file (unexpected end of data)"),
    ("step,task,accuracy\n1,math,.5\n", ": columns step, task, accuracy: not a known shape of scores; {supported}"),
    ("model,math\na,.5\nb,.5\n", ": 2 rows for a run of 3 steps; give 4 rows (the base first) or 3 (no base), or add "
     "a column `step`"),
    ("model,math\na,.5\nb,.5\nc,.5\nd,.5\ne,.5\n", ": 5 rows for a run of 3 steps; give 4 rows (the base first) or 3 "
     "(no base), or add a column `step`"),
    ("model,math,Math\na,.5,.5\nb,.5,.5\nc,.5,.5\n", ": columns 'math' and 'Math' are both 'math'; keep one of them"),
    ("model,overall,avg\na,.5,.5\nb,.5,.5\nc,.5,.5\n", ": columns 'overall' and 'avg' are both 'overall'; keep one of "
     "them"),
    ("model,math\na,.5\nb,x\nc,.5\n", ":3: score of task math is 'x', not a number; leave the cell empty when there "
     "is no score"),
    ("model,math\na,.5\nb,50\nc,.5\n", ":3: run tiny-ewc: score 50 of task math is outside 0..1; if the scores are "
     "percentages, say `score_scale: percent` in run.yaml"),
]  # fmt: skip
SUPPORTED = (
    "supported are long: CSV or Parquet with the columns step, task, score; wide: CSV with one row a step, a column "
    "`model` and one column a task; summary: OpenCompass CSV with dataset, version, metric, mode and one model a step; "
    "results: folder of lm-evaluation-harness or lighteval results_*.json, or of OpenCompass summaries, with a "
    "subfolder a step"
)


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_wrong_scores_are_told_in_one_line(folder, text, message):
    file = folder.scores(text)
    assert error_of(folder) == f"{file}" + message.format(file=file, supported=SUPPORTED)


def test_percentages(folder):
    folder.edit("updates:", "score_scale: percent\nupdates:")
    assert triples(scores_of(folder, LONG + "1,math,61.5\n2,math,100\n")) == [(1, "math", 0.615), (2, "math", 1.0)]
    assert error_of(folder, LONG + "1,math,101\n") == (
        f"{folder.root}/scores.csv:2: run tiny-ewc: score 101 of task math is outside 0..100; mend the score"
    )


def test_folders_and_other_endings_are_refused_with_what_is_supported(folder):
    folder.edit("scores.csv", "state_1")
    assert error_of(folder) == f"{folder.root}/state_1: a folder: not a known shape of scores; {SUPPORTED}"
    (folder.root / "scores.xlsx").touch()
    folder.edit("scores: state_1", "scores: scores.xlsx")
    assert error_of(folder) == (
        f"{folder.root}/scores.xlsx: the ending '.xlsx' is not that of a score file (.csv, .tsv, .parquet); {SUPPORTED}"
    )


def test_parquet_rows_and_damage_are_named(folder):
    folder.edit("scores.csv", "scores.parquet")
    file = folder.root / "scores.parquet"
    pl.DataFrame({"step": [0, 0], "task": ["math", "law"], "score": [0.5, float("nan")]}).write_parquet(file)
    assert error_of(folder).startswith(f"{file}, row 2: score of task law is 'nan', not a number")
    pl.DataFrame({"step": [0], "task": ["math"], "score": [[0.5]]}).write_parquet(file)
    assert error_of(folder).startswith(f"{file}, row 1: score of task math is '[0.5]', not a number")
    pl.DataFrame({"step": [True], "task": ["math"], "score": [0.5]}).write_parquet(file)
    assert error_of(folder).startswith(f"{file}, row 1: step is 'True', not a number")
    file.write_bytes(b"PAR1 nothing of the kind PAR1")
    assert error_of(folder).startswith(f"{file}: not a readable Parquet file (")


def test_text_that_is_not_utf8(folder):
    (folder.root / "scores.csv").write_bytes(b"step,task,score\n1,\xe9tude,1\n")
    assert error_of(folder) == f"{folder.root}/scores.csv: not UTF-8 text at byte 18; save it as UTF-8"


@pytest.mark.parametrize(
    ("columns", "reader"),
    [
        (("step", "task", "score"), "long"),
        (("Task", "Score"), "long"),
        (("model", "math"), "wide"),
        (("Overall Accuracy", "math"), "wide"),
        (("step", "math"), "wide"),
        (("step", "task", "accuracy"), None),
        (("dataset", "version", "metric", "mode", "state_1"), "summary"),
        (("math", "law"), None),
        ((), None),
    ],
)
def test_one_reader_at_most_takes_a_shape(tmp_path, columns, reader):
    taken = [entry.name for entry in READERS if entry.accepts(ScoreSource(tmp_path, columns))]
    assert taken == ([reader] if reader else [])


def test_notes_say_what_does_not_match(folder):
    manifest = load_manifest(folder.yaml)
    frame = scores_of(folder, LONG + "2,math,.1\n1,law2,.2\n1,physics,.3\n")
    assert untrained_tasks(manifest, frame) == ("law2", "physics")
    assert unscored_tasks(manifest, frame) == ("high_school", "law_2")
    assert score_notes(manifest, frame) == [
        "run tiny-ewc: trained but never scored, so without outcomes: high_school, law_2 (is it law2 in the scores?)",
        "run tiny-ewc: scored but not trained, and kept: law2, physics",
        "run tiny-ewc: 1 of 2 scores of trained tasks are missing, first step 3, task math",
        "run tiny-ewc: the base (step 0) is not scored, so there is no forward transfer",
    ]


def test_no_notes_on_a_full_score_matrix(folder):
    rows = [f"{step},{task},0.{step}" for step in range(4) for task in ("High School", "math", "law-2", "overall")]
    frame = scores_of(folder, LONG + "\n".join(rows))
    assert score_notes(load_manifest(folder.yaml), frame) == []


def test_notes_on_no_scores_and_on_fractions_called_percent(folder):
    folder.edit("updates:", "score_scale: percent\nupdates:")
    manifest = load_manifest(folder.yaml)
    frame = scores_of(folder, LONG + "0,math,.5\n")
    assert score_notes(manifest, frame)[-1] == (
        "run tiny-ewc: `score_scale: percent`, but no score is above 1: are they fractions?"
    )
    assert score_notes(manifest, frame.clear()) == ["run tiny-ewc has no scores: geometry only, no outcomes"]
