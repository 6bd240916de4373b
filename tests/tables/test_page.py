"""The page, the LaTeX and the comparison with the published numbers."""

import re
import shutil
import subprocess

import polars as pl
import pytest

from geodiag.paper import list_paper, load_paper
from geodiag.signals.catalog import label
from geodiag.tables import ANALYSIS_TABLES, Options, TablePanel, write_tables
from geodiag.tables.format import as_grid, interval_text, number_text, p_value
from geodiag.tables.page import is_published, with_published
from geodiag.tables.render import escape, table_lines

QUICK = Options(resamples=50, permutations=50)


@pytest.fixture(scope="module")
def written(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "out"
    return folder, write_tables(store, folder, QUICK, compare_paper=True)


@pytest.fixture(scope="module")
def text(written):
    return (written[0] / "tables.md").read_text()


def test_every_table_is_a_csv_that_reads_back(written, tables):
    folder, paths = written
    assert {path.name for path in folder.iterdir()} == {path.name for path in paths}
    for name, frame in tables.items():
        assert pl.read_csv(folder / f"{name}.csv", infer_schema_length=None).columns == frame.columns


def test_csv_numbers_are_those_of_the_frame(written, store):
    from geodiag.tables import compute_tables

    frame = compute_tables(store, QUICK, only=["table13"])["table13_pairwise_by_method"]
    read = pl.read_csv(written[0] / "table13_pairwise_by_method.csv")
    for name in ("sar_gc", "median_gc"):
        assert read[name].to_list() == pytest.approx(frame[name].to_list(), rel=1e-7)


def test_the_page_opens_with_three_sentences(text):
    head = text.split("- **Read:**")[0].strip().split("\n\n")
    assert head[0].startswith("# ")
    assert len(head) == 4
    assert "Over " in head[1]
    assert head[2].startswith("What does not explain it")
    assert head[3].startswith("The bare step index, which a useful signal must beat, ranks ")
    assert "2/(t+1)" in head[3]


def test_numbers_in_the_sentences_are_those_of_the_table(written, text):
    confounds = pl.read_csv(written[0] / "confounds.csv")
    row = confounds.row(
        by_predicate=(pl.col("signal") == "step")
        & (pl.col("target") == "forgetting")
        & (pl.col("correlation") == "pooled"),
        named=True,
    )
    assert f"(ρ = {row['rho']:.2f} [{row['low']:.2f}, {row['high']:.2f}])" in text.split("- **Read:**")[0]


def test_signs_are_said_once(text):
    assert text.count("**Signs:**") == 1


def test_every_table_says_what_it_asks_and_what_to_distrust(text, tables):
    for table in ANALYSIS_TABLES:
        if table.name in tables:
            section = text.split(f"### {table.title}\n")[1].split("\n### ")[0]
            assert f"*Asks:* {table.question}" in section
            assert f"*Distrust:* {table.distrust}" in section
            assert f"`{table.name}.csv`" in section


def test_ours_come_first_and_the_papers_are_marked(text):
    ours, papers = text.split("## The paper's tables, its way")
    assert "The intervals and p-values below are the paper's" in papers
    assert "paper's interval" in papers
    assert "| whole-run p" in ours
    assert "whole-run p" not in papers
    section = papers.split("### Table 3")[1].split("### Table 4")[0]
    assert "paper's interval" in section
    assert "paper's p" in section


def test_every_markdown_table_is_rectangular(text):
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    assert len(blocks) > 25
    for block in blocks:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().split("\n")}
        assert len(cells) == 1


def test_latex_has_a_float_for_every_table(written):
    source = (written[0] / "tables.tex").read_text()
    for table in ANALYSIS_TABLES:
        assert rf"\label{{tab:{table.name}" in source
    assert source.count(r"\toprule") == source.count(r"\bottomrule") == source.count(r"\begin{table}")
    for body, columns in re.findall(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}(.*?)\\end\{tabular\}", source, re.DOTALL):
        rows = [line for line in columns.split("\n") if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(body) - 1}
    assert not re.search(r"(?<!\\)[_%#]", re.sub(r"\\label\{.*?\}|^%.*$", "", source, flags=re.MULTILINE))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(written, tmp_path):
    head = r"\documentclass{article}\usepackage{booktabs}\usepackage[utf8]{inputenc}\begin{document}\input{tables}"
    (tmp_path / "main.tex").write_text(head + r"\end{document}")
    shutil.copy(written[0] / "tables.tex", tmp_path)
    subprocess.run(["pdflatex", "-halt-on-error", "main"], cwd=tmp_path, check=True, capture_output=True)


def test_latex_escapes():
    assert escape("a_b & 5 % of |ρ| [-0.5, -1] <0.001 –") == (
        r"a\_b \& 5 \% of $|$$\rho$$|$ [$-$0.5, $-$1] $<$0.001 --"
    )
    assert escape("step-partial 2-3") == "step-partial 2-3"


def test_published_numbers_stand_beside_ours(store, tables):
    for table in ANALYSIS_TABLES:
        assert is_published(table) == (table.name in list_paper())
        if not is_published(table):
            continue
        published, both = load_paper(table.name), with_published(table, tables[table.name])
        values = [name for name in published.columns if name not in table.key]
        ours = both.head(tables[table.name].height)
        assert ours.select(*table.key, *values).equals(tables[table.name].select(*table.key, *values))
        theirs = both.join(published.cast({k: both.schema[k] for k in table.key}), on=table.key, how="semi")
        assert theirs.height == published.height
        for name in values:
            wanted = published.sort(table.key)[name].to_list()
            assert theirs.sort(table.key)[f"{name}_published"].to_list() == wanted


def test_comparison_is_written_and_shown(written, text):
    frame = pl.read_csv(written[0] / "table03_global_step_confidence_beside_paper.csv")
    row = frame.row(by_predicate=pl.col("signal") == "global_gap", named=True)
    assert (row["spearman_published"], row["ci_low_published"], row["p_perm_published"]) == (-0.59, -0.74, "<1e-3")
    assert row["n_published"] == 250
    section = text.split("### Table 3")[1].split("### Table 4")[0]
    assert "[-0.74, -0.36]" in section
    assert "ρ (published)" in section


def test_without_comparison_no_published_number_is_written(store, tmp_path):
    paths = write_tables(store, tmp_path, QUICK, only=["table03"])
    assert [path.name for path in paths] == ["tables.md", "tables.tex", "table03_global_step_confidence.csv"]
    text = paths[0].read_text()
    assert "published)" not in text
    assert "Only some tables were asked for" in text


@pytest.mark.parametrize(
    ("value", "digits", "wanted"), [(-0.004, 2, "0.00"), (-0.005001, 2, "-0.01"), (None, 2, "–"), (0.1234, 3, "0.123")]
)
def test_numbers(value, digits, wanted):
    assert number_text(value, digits) == wanted


def test_p_values_and_intervals():
    assert [p_value(p) for p in (0.0004, 0.001, 1.0, None)] == ["<0.001", "0.001", "1.000", "–"]
    assert interval_text(-0.5, None) == "–"
    assert interval_text(-0.5, 0.25) == "[-0.50, 0.25]"


def test_interval_columns_become_one():
    frame = pl.DataFrame({"signal": ["state_gap"], "spearman": [0.5], "ci_low": [0.1], "ci_high": [None], "n": [3]})
    grid = as_grid(frame)
    assert grid.headings == ("signal", "ρ", "paper's interval", "n")
    assert grid.rows == (("State gap", "0.50", "–", "3"),)
    assert grid.right == (False, True, True, True)


def test_a_signal_or_outcome_has_its_label_as_heading_in_every_table(tables):
    for table in ANALYSIS_TABLES:
        frames = [panel.frame for panel in table.panels(tables[table.name])] if table.panels else []
        for frame in (tables[table.name], *frames):
            named = [name for name in frame.select(pl.selectors.numeric()).columns if label(name) != name]
            assert as_grid(frame.select(named)).headings == tuple(label(name) for name in named)


def test_entries_of_a_table_are_shown_under_their_labels():
    frame = pl.DataFrame({"predictor": ["Merged norm", "GC"], "relation": ["sar_vs_conflict", "gc_drop"]})
    assert as_grid(frame).rows == (("State norm (sum)", "SAR vs GC"), ("GC", "GC vs old-task change"))


def test_lines_are_aligned_and_pipes_escaped():
    frame = pl.DataFrame({"name": ["a|b", "c"], "value": [1.0, -2.5]})
    assert table_lines(as_grid(frame)) == [
        "| name | value |",
        "| ---- | ----: |",
        "| a\\|b |  1.00 |",
        "| c    | -2.50 |",
    ]


def test_panels_are_of_the_tables_own_rows(tables):
    for table in ANALYSIS_TABLES:
        if table.panels is not None:
            panels = table.panels(tables[table.name])
            assert all(isinstance(panel, TablePanel) for panel in panels)
            assert any(panel.frame.height for panel in panels)
