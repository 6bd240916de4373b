"""Text, JSON and HTML."""

import json
import re

import pytest

from geodiag.explain import CAUSES, explain_step
from geodiag.explain.advice import SUGGESTIONS
from geodiag.explain.html import style_sheet
from geodiag.store import StoreReader
from tests.html_tree import Tree

from . import planted
from .planted import TASKS, Plan

HOSTILE = "<img_src=x_onerror=alert(1)>"


@pytest.fixture(scope="module")
def explanation(tmp_path_factory):
    store = tmp_path_factory.mktemp("forms") / "store"
    tasks = (HOSTILE, *TASKS[1:])
    plans = [Plan("r", 0, "family", tasks=tasks, gradients=True, size="<b>", method="</style><script>x()</script>")]
    planted.write(store, plans)
    return explain_step(StoreReader(store), "r", 5)


def test_html_is_well_formed_and_hostile_names_stay_text(explanation):
    tree = Tree(explanation._repr_html_())
    assert not {"img", "script", "b"} & {tag for tag, _ in tree.tags}
    assert not any(name.startswith("on") for _, attrs in tree.tags for name in attrs)
    text = "".join(tree.said)
    assert HOSTILE.title() in text
    assert explanation.verdict.text in text


def test_html_takes_its_colours_from_where_it_is_shown():
    """No rule sets a text colour or an opaque background, so that a dark page stays dark."""
    for rule in re.findall(r"([a-z-]+):\s*([^;}]+)", style_sheet()):
        if rule[0] in ("color", "background", "background-color"):
            assert rule[1].strip() in ("inherit", "none") or "/ " in rule[1], rule
    assert all(line.startswith((".geodiag-explain", "@media")) for line in style_sheet().splitlines() if line.strip())


def test_html_says_what_stands_out_in_words_too(explanation):
    html = explanation._repr_html_()
    warned = sum(line.warn for section in explanation.sections for line in (*section.lines, *section.more))
    assert html.count("stands out</span>") == warned > 0
    assert html.count("role='img' aria-label=") == html.count("<svg")


def test_json_holds_every_line_with_its_numbers(explanation):
    record = json.loads(explanation.to_json())
    lines = {line["name"]: line for section in record["sections"] for line in (*section["lines"], *section["more"])}
    for name, line in lines.items():
        mine = explanation.line(name)
        assert line["value"] == mine.value
        assert line["numbers"] == dict(mine.numbers)
        assert (line["place"] or {}).get("z") == (mine.place.z if mine.place else None)
    assert record["verdict"]["cause"] == "family"
    assert json.loads(explanation.to_json(indent=None)) == record


def test_text_is_wrapped_and_complete(explanation):
    text = explanation.to_text(width=100)
    lines = text.splitlines()
    assert max(len(line) for line in lines if not line.startswith(("  ", "! "))) <= 100
    flat = " ".join(text.split())
    assert " ".join(explanation.verdict.text.split()) in flat
    for section in explanation.sections:
        assert section.title in lines
        assert " ".join(section.lead.split()) in flat
    for advice in explanation.advice:
        assert " ".join(f"{advice.action}. Because {advice.why}.".split()) in flat
    assert str(explanation) == explanation.to_text()


def test_advice_rests_on_lines_that_are_there(explanation):
    assert explanation.advice
    for advice in explanation.advice:
        assert all(explanation.line(name) is not None for name in advice.lines), advice


def test_every_cause_suggests_something():
    assert {cause.name for cause in CAUSES} == set(SUGGESTIONS)


def test_lines_stand_in_order_of_weight(explanation):
    for name in ("step", "whom"):
        weights = [line.weight for line in explanation.section(name).lines]
        assert weights == sorted(weights, reverse=True)
