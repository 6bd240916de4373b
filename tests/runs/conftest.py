"""A run on disk that is in order, for tests to bend."""

from pathlib import Path

import pytest

RUN_YAML = """\
run: tiny-ewc
size: 4B
method: EWC
base: ../base
updates: experts
scores: scores.csv
steps:
  - {task: High School, state: state_1, expert: expert_1}
  - {task: math, state: state_2, expert: expert_2}
  - {task: law-2, state: state_3, expert: expert_3}
"""


class RunFolder:
    """A folder with a manifest, a base, three steps and scores; checkpoints are empty folders."""

    def __init__(self, root: Path) -> None:
        self.root = root / "run"
        self.yaml = self.root / "run.yaml"
        for name in ("base", *(f"run/{kind}_{n}" for kind in ("state", "expert") for n in (1, 2, 3))):
            (root / name).mkdir(parents=True)
        self.write(RUN_YAML)
        self.scores("step,task,score\n0,math,0.1\n1,math,0.2\n")

    def write(self, text: str) -> Path:
        self.yaml.write_text(text, encoding="utf-8")
        return self.yaml

    def edit(self, old: str, new: str) -> Path:
        text = self.yaml.read_text(encoding="utf-8")
        assert old in text
        return self.write(text.replace(old, new))

    def scores(self, text: str) -> Path:
        path = self.root / "scores.csv"
        path.write_text(text, encoding="utf-8")
        return path


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path)
