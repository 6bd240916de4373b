"""Drawing all figures: files, their account, and what is left behind (nothing)."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from geodiag.cli import main
from geodiag.errors import SettingsError
from geodiag.figures import FIGURES, draw_all, draw_paper, fig10_state_dynamics_by_size, paper_tables
from geodiag.figures.theme import theme
from geodiag.paper import SOURCE
from tests.figures.conftest import QUICK

UNPUBLISHED = {
    *("fig06_signals_and_forgetting", "fig07_alignment_conflict_change", "fig11_step_dynamics"),
    *("fig14_pair_change_by_method", "fig15_pair_conflict_by_method", "confounds", "incremental_value"),
    *("depth_profile", "family_heatmap", "pair_conflict_heatmap", "pair_change_heatmap", "pair_change_distribution"),
    "step_dynamics",
}
SOME = ["fig13", "pair_change_heatmap", "step_dynamics"]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory):
    return draw_paper(tmp_path_factory.mktemp("paper") / "figures")


def account(folder: Path) -> dict:
    return json.loads((folder / "figures.json").read_text())


def test_the_paper_draws_what_was_published_and_names_the_rest(paper) -> None:
    drawn = {one.figure for one in paper if one.file}
    assert drawn == {figure.name for figure in FIGURES} - UNPUBLISHED
    assert all("draw it from a store" in one.reason for one in paper if not one.file)
    assert {path.stem for path in paper.out.glob("*.png")} == drawn
    assert plt.get_fignums() == []


def test_the_account_names_table_rows_and_command(paper) -> None:
    said = account(paper.out)
    assert said["source"] == SOURCE
    assert {one["figure"] for one in said["not_drawn"]} == UNPUBLISHED
    (steps,) = [one for one in said["not_drawn"] if one["figure"] == "fig11_step_dynamics"]
    assert (steps["tables"], steps["needs"]) == (["step_signals"], "steps of two tasks or more")
    (intervals,) = [one for one in said["figures"] if one["figure"] == "fig05_intervals"]
    assert intervals["file"] == "fig05_intervals.png"
    assert intervals["command"] == f"geodiag figures --paper --out {paper.out} --only fig05_intervals"
    rows = {panel["table"]: panel["rows"] for panel in intervals["panels"]}
    assert rows["table04_scale_confidence"] == 20
    assert rows["table06_pairwise_confidence"] == 3
    assert intervals["panels"][0]["n"] == "250"
    (first,) = [one for one in said["figures"] if one["figure"] == "fig01_state_dynamics"]
    assert first["missing_panels"] == [
        {"panel": "Dynamics by size", "reason": "the rows of step_signals were never published; draw it from a store"}
    ]


def test_lines_say_each_file_and_each_reason(paper) -> None:
    lines = paper.lines()
    assert f"{paper.out / 'fig13_outcomes.png'}" in lines
    assert (
        "fig11_step_dynamics: not drawn: the rows of step_signals were never published; draw it from a store" in lines
    )
    assert "  without Dynamics by size: the rows of step_signals were never published; draw it from a store" in lines


def test_a_store_gives_a_file_a_figure_and_one_for_each_run(stores, tmp_path: Path) -> None:
    found = draw_all(stores("plain"), tmp_path / "new" / "folder", only=SOME, options=QUICK)
    files = {one.file for one in found}
    runs = stores("plain").run_ids()
    assert files == {"fig13_outcomes.png", "pair_change_heatmap.png", *(f"step_dynamics-{run}.png" for run in runs)}
    said = account(found.out)
    assert said["source"] == str(stores("plain").path)
    assert (
        said["figures"][0]["command"]
        == f"geodiag figures {stores('plain').path} --out {found.out} --only fig13_outcomes"
    )
    assert plt.get_fignums() == []


@pytest.mark.parametrize("chosen", [["4b-ewc"], "4b-ewc"])
def test_only_the_runs_asked_for_get_figures_of_their_own(stores, tmp_path: Path, chosen) -> None:
    found = draw_all(stores("plain"), tmp_path, only=["step_dynamics"], runs=chosen)
    assert [one.file for one in found] == ["step_dynamics-4b-ewc.png"]
    assert account(tmp_path)["figures"][0]["command"].endswith(f"--out {tmp_path} --runs 4b-ewc --only step_dynamics")


def test_no_run_gets_a_figure_where_none_was_asked_for(stores, tmp_path: Path) -> None:
    (one,) = draw_all(stores("plain"), tmp_path, only=["step_dynamics"], runs=[])
    assert (one.file, one.reason) == (None, "no run was asked for")
    assert account(tmp_path)["command"].endswith("--runs none")
    with pytest.raises(SettingsError, match=r"there is no run 'x'; one of: 0\.6b-ewc, 0\.6b-seq\.sft"):
        draw_all(stores("plain"), tmp_path, runs=["x"])


def test_a_png_has_a_palette_its_caption_and_the_colours_that_were_drawn(tmp_path: Path) -> None:
    """No pixel differs from what was drawn by more than 24 in 255, and whatever is large has its own colour."""
    draw_paper(tmp_path, only=["fig10"])
    axes = fig10_state_dynamics_by_size(paper_tables())
    with theme():
        axes[0].figure.savefig(tmp_path / "true.png")
    with Image.open(tmp_path / "fig10_state_dynamics_by_size.png") as found, Image.open(tmp_path / "true.png") as true:
        assert found.mode == "P"
        assert found.info["Title"] == "State-relative dynamics by size"
        assert "Rank correlations of steps' signals" in found.info["Description"]
        assert found.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        pixels, wanted = (np.asarray(image.convert("RGB"), int) for image in (found, true))
        assert np.abs(pixels - wanted).max() <= 24
        kinds, place, count = np.unique(wanted.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
        large = (count >= 2000)[place.reshape(wanted.shape[:2])]
        assert len(kinds) > 256
        np.testing.assert_array_equal(pixels[large], wanted[large])


def test_figures_that_cannot_be_drawn_leave_no_file(stores, tmp_path: Path) -> None:
    (one,) = draw_all(stores("no_scores"), tmp_path, only=["pair_change_heatmap"])
    assert one.file is None
    assert one.reason == "no pair of tasks has a drop"
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_drawing_again_gives_the_same_bytes(tmp_path: Path, form: str) -> None:
    for folder in ("one", "two"):
        draw_paper(tmp_path / folder, only=["fig13"], format=form)
    one, two = ((tmp_path / folder / f"fig13_outcomes.{form}").read_bytes() for folder in ("one", "two"))
    assert one == two


def test_files_carry_their_caption_and_pdfs_their_fonts(tmp_path: Path) -> None:
    draw_paper(tmp_path, only=["fig13"], format="pdf")
    content = (tmp_path / "fig13_outcomes.pdf").read_bytes()
    assert b"/FontFile2" in content, "TrueType fonts are embedded"
    assert b"/Type3" not in content
    draw_paper(tmp_path, only=["fig13"], format="svg")
    assert "n = 250 in all, 20 runs." in (tmp_path / "fig13_outcomes.svg").read_text()


def test_a_wrong_name_or_format_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no figure 'fig04'; one of: fig01_state_dynamics, fig02"):
        draw_paper(tmp_path, only=["fig04"])
    with pytest.raises(SettingsError, match="no figure format 'gif'; one of: png, pdf, svg"):
        draw_paper(tmp_path, format="gif")


@pytest.mark.parametrize(("given", "files"), [(["none"], []), (["4b-ewc"], ["step_dynamics-4b-ewc.png"])])
def test_the_command_takes_runs(stores, tmp_path: Path, given: list[str], files: list[str]) -> None:
    asked = [part for run in given for part in ("--runs", run)]
    with pytest.raises(SystemExit) as stopped:
        main(["figures", str(stores("plain").path), "--out", str(tmp_path), "--only", "step_dynamics", *asked])
    assert not stopped.value.code
    assert sorted(path.name for path in tmp_path.glob("*.png")) == files
