"""The report as a file: whole, closed to the world, and true to the store."""

import gzip
import hashlib
import json
import re
from base64 import b64decode
from html import escape

import polars as pl
import pytest

import geodiag
from geodiag.cli import main
from geodiag.errors import StoreError
from geodiag.explain import StoreEvidence, explain_step
from geodiag.figures import FIGURES
from geodiag.report import write_report
from geodiag.report.heatmap import LOSS_GAIN, Heatmap, cell_style, cell_text, heatmap_html, ink, mix
from geodiag.report.report import Pieces, explanations, pack_text
from geodiag.report.runs import first_step
from geodiag.tables import compute_tables
from tests.explain import planted
from tests.explain.planted import Plan
from tests.html_tree import Tree

from .conftest import CAUSES, HOSTILE, IMAGE, QUICK


class Page(Tree):
    """A page with pictures; what scripts and styles hold is no text."""

    void = Tree.void | {"img"}

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            super().handle_data(data)


@pytest.fixture(scope="module")
def text(page):
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """One run without scores."""
    path = tmp_path_factory.mktemp("bare") / "store"
    planted.write(path, [Plan("r", 6, scores=False)])
    return geodiag.open_store(path)


@pytest.fixture(scope="module")
def tree(text):
    return Page(text)


@pytest.fixture(scope="module")
def blob(text):
    """What the page unpacks."""
    packed = re.search(r'id="blob">([^<]*)<', text).group(1)
    return json.loads(gzip.decompress(b64decode(packed)))


def unpacked(blob, places):
    return "".join(blob["pieces"][at] for at in places)


def test_nothing_is_loaded_from_anywhere(tree, text):
    """Links lead inside the page, images carry their bytes, and the policy forbids the rest."""
    for tag, attrs in tree.tags:
        for name in ("src", "href", "action", "data", "poster"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
    assert "@import" not in text
    assert not re.search(r"url\(", text)
    policy = next(attrs["content"] for tag, attrs in tree.tags if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    script = text.rsplit("<script>", 1)[1].split("</script>")[0]
    digest = hashlib.sha256(script.encode()).digest()
    assert b64decode(re.search(r"'sha256-([^']+)'", policy).group(1)) == digest


def test_hostile_names_stay_text(tree, blob):
    pages = [tree, *(Tree(unpacked(blob, run["panel"])) for run in blob["runs"].values())]
    pages += [Page(unpacked(blob, said)) for run in blob["runs"].values() for said in run["said"].values()]
    for one in pages:
        assert not any(name.startswith("on") for _, attrs in one.tags for name in attrs)
        assert not [attrs for tag, attrs in one.tags if tag == "img" and not attrs["src"].startswith("data:image/png")]
    assert sum(tag == "script" for tag, _ in tree.tags) == 2
    said = "".join(part for one in pages for part in one.said)
    assert all(name in said for name in (IMAGE.title(), *HOSTILE[1:]))


def test_every_step_is_there_as_it_is_explained(store, blob):
    evidence = StoreEvidence(store, QUICK)
    assert list(blob["runs"]) == [f"r{n}" for n in range(len(CAUSES))]
    for run, known in blob["runs"].items():
        assert [step for step, _ in known["steps"]] == list(range(1, 9))
        for step in (1, 5, 8):
            verdict = explain_step(store, run, step, evidence=evidence).verdict
            assert f"<p>{escape(verdict.text)}</p>" in unpacked(blob, known["said"][str(step)])


def test_it_opens_at_the_costliest_step(store, blob):
    drops = store.pairs().group_by("run", "step").agg(pl.col("drop").mean()).drop_nulls()
    assert blob["first"] == list(drops.sort("drop").select("run", "step").row(0))


def test_the_step_index_is_the_baseline_of_every_signal(text):
    """What the global gap is stands before any correlation, and the bare step index is the first row."""
    part = text.split('id="correlations"', 1)[1].split('id="figures"', 1)[0]
    assert "state gap times 2/(t + 1)" in part.split("<table", 1)[0]
    maps = part.split("<table class='heat'>")[1:]
    assert len(maps) == 6
    for one in maps:
        assert re.search(r"<tbody><tr><th scope='row'>([^<]+)</th>", one).group(1) == "Step index (baseline)"


def test_correlations_are_those_of_the_table(store, text):
    confounds = compute_tables(store, QUICK, only=["confounds"])["confounds"]
    chosen = (pl.col("signal") == "global_gap") & (pl.col("target") == "forgetting")
    rho = confounds.filter(chosen, pl.col("correlation") == "pooled")["rho"].item()
    assert f"title='Global gap, Pooled: {cell_text(rho, 2)}'" in text


def test_every_figure_is_drawn_or_excused(text):
    for figure in FIGURES:
        drawn = f"id='{figure.name}'" in text
        assert drawn or figure.per_run or f"<li>{escape(figure.title)}: " in text.split("<h3>Not drawn</h3>")[1]
    assert text.count("<img ") >= 15


def test_every_image_table_and_control_has_a_name(tree):
    for tag, attrs in tree.tags:
        assert tag != "img" or attrs["alt"]
        assert tag != "svg" or attrs["aria-label"]
        assert tag != "th" or attrs["scope"] in ("col", "row")
    ids = [attrs["id"] for _, attrs in tree.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    inside = {attrs["href"][1:] for tag, attrs in tree.tags if tag == "a"}
    assert inside <= set(ids)


@pytest.mark.slow
def test_the_same_store_gives_the_same_page(bare, tmp_path):
    first, again = (write_report(bare, tmp_path / name / "page.html", QUICK) for name in ("a", "b"))
    assert first.read_bytes() == again.read_bytes()


def test_runs_without_scores_make_a_page_too(bare, tmp_path, capsys):
    """As the command writes it."""
    out = tmp_path / "page.html"
    draws = ["--resamples", "20", "--permutations", "20"]
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(bare.path), "--out", str(out), *draws])
    assert not stopped.value.code
    assert "".join(capsys.readouterr().out.split()) == str(out)
    text = out.read_text(encoding="utf-8")
    Page(text)
    assert "Forgetting in 1 run<" in text
    assert "no scores" in text


def test_an_empty_store_is_refused(store, tmp_path):
    with pytest.raises(StoreError, match="holds no run"):
        write_report(store.only([]), tmp_path / "none.html", QUICK)


@pytest.mark.parametrize(
    ("runs", "steps", "largest"), [(2, 28, 75_000), pytest.param(40, 560, 1_500_000, marks=pytest.mark.slow)]
)
def test_all_steps_of_the_shipped_runs_take_little_room(runs, steps, largest):
    """560 explanations: 20 MB of HTML in a megabyte and a half of text at most; of two runs in their share of it."""
    lab = geodiag.load_example("lab")
    evidence = StoreEvidence(lab.only(lab.run_ids()[:runs]))
    packed = pack_text(explanations(evidence, first_step(evidence)))
    assert len(packed) < largest
    found = json.loads(gzip.decompress(b64decode(packed)))
    assert sum(len(run["said"]) for run in found["runs"].values()) == steps


@pytest.mark.slow
def test_the_shipped_runs_make_a_page_under_five_megabytes(tmp_path):
    page = write_report(geodiag.load_example("lab"), tmp_path / "lab.html")
    assert page.stat().st_size < 5_000_000
    Page(page.read_text(encoding="utf-8"))


def test_pieces_join_to_the_text():
    texts = ["<p>a</p><p>b</p>", "no tag", "<p>a</p>", ""]
    pieces = Pieces(texts)
    assert ["".join(pieces.pieces[at] for at in pieces.places(text)) for text in texts] == texts
    assert pieces.pieces == sorted(set(pieces.pieces))


def test_colours_run_from_end_to_end():
    assert mix(0.0, LOSS_GAIN) == LOSS_GAIN[0]
    assert mix(0.5, LOSS_GAIN) == LOSS_GAIN[2]
    assert mix(1.0, LOSS_GAIN) == LOSS_GAIN[-1]
    assert mix(0.125, ((0, 0, 0), (80, 40, 8))) == (10, 5, 1)
    assert cell_style(9.0, low=0, high=1, colors=LOSS_GAIN) == cell_style(1.0, low=0, high=1, colors=LOSS_GAIN)
    assert cell_style(None, low=0, high=1, colors=LOSS_GAIN) == ""


def test_ink_is_black_or_white_as_contrast_has_it():
    """Luminance by WCAG 2: grey 118 has contrast 4.6 with black and 4.5 with white; 117 the other way round."""
    assert ink((255, 255, 255)) == "#000"
    assert ink((0, 0, 0)) == "#fff"
    assert ink((118, 118, 118)) == "#000"
    assert ink((117, 117, 117)) == "#fff"


def test_cells_tell_their_value():
    heat = Heatmap(
        title="t",
        note="n",
        rows=["<a>"],
        columns=["x", "y", "z"],
        values={(0, 0): 0.256, (0, 1): None},
        low=-1,
        high=1,
        scale=100,
        digits=0,
        unit=" points",
        steps={(0, 0): ("r", 3)},
    )
    html = heatmap_html(heat)
    assert "data-run='r' data-step='3' title='&lt;a&gt;, x: 26 points'>26</td>" in html
    assert "title='&lt;a&gt;, y: not known'>–</td>" in html
    assert html.count("<td") == 3
    assert cell_text(-0.001, 2) == "0.00"
