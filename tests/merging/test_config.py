"""What a configuration may say, and the one line that a wrong one gets."""

import pytest
import yaml

import geodiag
from geodiag.checkpoints import Layer
from geodiag.cli import main
from geodiag.errors import GeodiagError, ManifestError, SettingsError
from geodiag.merging import load_merge, parse_merge, plan_merge
from geodiag.merging.prepare import layer_flops, prepare_merge
from geodiag.merging.rules.gcwm import GcwmRule
from geodiag.merging.rules.opcm import OpcmRule
from geodiag.merging.rules.task_arithmetic import TaskArithmeticRule
from geodiag.merging.rules.ties import TiesRule
from geodiag.merging.rules.wudi import WudiRule
from tests.merging.runs import config_of, contents, write_config, write_experts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_experts(tmp_path_factory.mktemp("config") / "given")


def test_published_settings_are_the_defaults(folder):
    config = parse_merge(config_of(folder))
    assert config.rule == GcwmRule()
    assert (config.rule.spectrum.rank, config.rule.spectrum.energy, config.rule.spectrum.lam) == (16, 0.9, 1e-6)
    gate = config.rule.gate
    assert (gate.alpha_min, gate.alpha_max, gate.tau, gate.kappa, gate.skip) == (0.15, 0.95, 0.12, 12, 0.05)
    assert (config.rule.metric.iterations, config.rule.metric.tol) == (50, 1e-5)
    assert (config.rule.wudi.solver, config.rule.wudi.lr, config.rule.wudi.iterations) == ("adam", 1e-5, 100)
    assert (config.memory, config.etas, config.method_label) == ("all", (0.1, 0.1, 0.1), "GCWM")
    assert (WudiRule().lr, WudiRule().iterations) == (1e-5, 300)
    assert (TaskArithmeticRule().scale, TiesRule().keep, TiesRule().scale) == (0.3, 0.2, 1.0)
    assert OpcmRule().threshold == 0.5


def test_a_rule_by_name_or_as_a_group(folder):
    assert parse_merge(config_of(folder, rule="ties")).rule == TiesRule()
    assert parse_merge(config_of(folder, rule={"name": "ties", "keep": 0.5})).rule == TiesRule(keep=0.5)
    grouped = parse_merge(
        config_of(folder, rule={"name": "gcwm", "gate": {"mode": "none"}, "spectrum": {"lambda": "1e-4"}})
    )
    assert (grouped.rule.gate.mode, grouped.rule.spectrum.lam) == ("none", 1e-4)


def test_paths_are_relative_to_the_file(folder):
    (folder / "sub").mkdir()
    given = config_of(folder) | {"base": "../base", "out": "made"}
    (folder / "sub" / "merge.yaml").write_text(yaml.safe_dump(given))
    config = load_merge(folder / "sub" / "merge.yaml")
    assert (config.base, config.out) == (folder / "base", folder / "sub" / "made")


GROUP = {"name": "gcwm"}
WRONG = [
    ({"metod": "x"}, "unknown key 'metod'; did you mean 'method'?"),
    ({"rule": "slerp"}, "'rule' is 'slerp'; give one of: gcwm, wudi, task_arithmetic, ties, opcm"),
    ({"rule": GROUP | {"gate": {"taw": 1}}}, "unknown key 'taw'; did you mean 'tau'?"),
    ({"rule": GROUP | {"gate": {"alpha_max": 2}}}, "'alpha_max' is the number 2; give alpha far above tau, in [0, 1]"),
    ({"rule": GROUP | {"spectrum": {"lambda": 0}}}, "'lambda' is the number 0; give the regulariser"),
    ({"rule": GROUP | {"wudi": {"solver": "sgd"}}}, "'solver' is 'sgd'; give adam (iterations"),
    ({"rule": GROUP | {"keep": 0.2}}, "unknown key 'keep'"),
    ({"rule": {"name": "ties", "keep": 20}}, "'keep' is the number 20; give the share of each update's entries kept"),
    ({"rule": {"name": "opcm", "threshold": 1}}, "'threshold' is the number 1"),
    ({"rule": "opcm", "eta": 0.5}, "opcm has no eta; leave it out"),
    ({"eta": [0.1, 0.2]}, "'eta' has 2 numbers for 3 experts; give one number, or one for each expert"),
    ({"eta": 0}, "'eta' is the number 0; give the share of each change of the merge that a step takes, above 0"),
    ({"memory": 0}, "'memory' is the number 0; give one of: all, anchor, or how many"),
    ({"memory": "some"}, "'memory' is 'some'; give one of: all, anchor"),
    ({"dtype": "int8"}, "'dtype' is 'int8'; give one of: base"),
    ({"families": ["q_proj", "nope"]}, "unknown family 'nope'; known families: q_proj"),
    ({"experts": []}, "'experts' is an empty list; give a list with one"),
    ({"experts": ["a"]}, "an expert is 'a'; write `{task: ..., checkpoint: ...}`"),
    ({"experts": [{"task": "a"}]}, "key 'checkpoint' is missing; give its checkpoint"),
    ({"experts": [{"task": "overall", "checkpoint": "base"}]}, "'task' is 'overall'; give the name of the task"),
    ({"experts": [{"task": "a", "checkpoint": "gone"}]}, "'checkpoint': no such file or folder: "),
    ({"base": None}, "'base' is empty; give the checkpoint that the experts were trained from"),
    ({"size": 8}, """'size' is the number 8, not text; put it in quotes: size: "8\""""),
    ({"run": "a b"}, "'run' is 'a b'; give an id of letters"),
    ({"scores": "no.csv"}, "'scores': no such file or folder"),
]


@pytest.mark.parametrize(("change", "line"), WRONG, ids=[line[:40] for _, line in WRONG])
def test_wrong_configurations_get_one_line_with_its_place(folder, tmp_path, capsys, change, line):
    path = tmp_path / "merge.yaml"
    given = config_of(folder) | change
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    with pytest.raises(ManifestError) as raised:
        load_merge(path)
    assert line in str(raised.value)
    assert str(raised.value).startswith(f"{path}:")
    with pytest.raises(SystemExit) as stopped:
        main(["merge", str(path)])
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_repeated_tasks_and_checkpoints(folder):
    experts = config_of(folder)["experts"]
    with pytest.raises(ManifestError, match="task 'Alpha' is already the task of step 1"):
        parse_merge(config_of(folder, experts=[*experts, experts[0] | {"task": "Alpha"}]))
    with pytest.raises(ManifestError, match="the same checkpoint as at step 1"):
        parse_merge(config_of(folder, experts=[*experts, experts[0] | {"task": "delta"}]))


def test_a_checkpoint_that_does_not_fit_names_its_step(folder, tmp_path):
    other = write_experts(tmp_path / "larger", blocks=2)
    experts = config_of(folder)["experts"][:1]
    wrong = config_of(other, experts=[*experts, config_of(other)["experts"][1]])
    with pytest.raises(GeodiagError, match=r"step 1, tensor model.layers.1.*: the tensor is missing here"):
        prepare_merge(parse_merge(wrong))
    with pytest.raises(GeodiagError, match="unknown device 'tpu'"):
        prepare_merge(parse_merge(config_of(folder, device="tpu")))
    with pytest.raises(SettingsError, match="one merged model is no run to store"):
        prepare_merge(parse_merge(config_of(folder, states="last", store=str(tmp_path / "s"))))


def test_the_command_merges_and_says_so(folder, capsys):
    path = write_config(folder, rule="ties")
    store = folder / "store"
    for expected in ("merged: merged 7 layers, wrote 3 states, in ", "merged: unchanged, in "):
        with pytest.raises(SystemExit) as stopped:
            main(["merge", str(path), "--out", str(folder / "by-command"), "--store", str(store), "--device", "cpu"])
        assert stopped.value.code in (None, 0)
        assert capsys.readouterr().out.startswith(expected)
    assert geodiag.open_store(store).runs()["method"].to_list() == ["TIES"]


def test_the_function_is_the_command(folder):
    merged = geodiag.merge(config_of(folder, rule="ties"), out=folder / "by-function")
    again = geodiag.merge(write_config(folder, rule="ties"), out=folder / "by-file")
    assert contents(merged.path / "states") == contents(again.path / "states")
    assert merged.last == merged.path / "states" / "step_03_gamma"
    assert merged.merges().height == 21
    assert "Means over layers" in merged._repr_html_()


def test_a_dry_run_writes_nothing(folder, capsys):
    before = contents(folder)
    path = write_config(folder)
    with pytest.raises(SystemExit):
        main(["merge", str(path), "--out", str(folder / "dry"), "--dry-run"])
    line, note = capsys.readouterr().out.strip().splitlines()
    assert line.startswith("run merged: GCWM, 3 states, 7 layers; reads ")
    assert note == "run merged: 2 tensors stay the base's (1 embedding, 1 norm)"
    assert {name: value for name, value in contents(folder).items() if name.name != "merge.yaml"} == {
        name: value for name, value in before.items() if name.name != "merge.yaml"
    }


def test_a_dry_run_of_what_is_there(folder):
    config = parse_merge(config_of(folder, out="there", rule="ties"))
    geodiag.merge(config_of(folder, out="there", rule="ties"))
    assert list(plan_merge(config)) == ["run merged: all 3 steps are there already"]


def test_counted_operations_by_hand(folder):
    """One 48 x 80 layer, whose products are all multiplied out."""
    config = parse_merge(config_of(folder, rule={"name": "wudi", "iterations": 10}))
    layer = next(x for x in prepare_merge(config).layers if x.family == "down_proj")
    product = 2 * 48 * 80  # flops of a product with one column
    gradient, square = 2 * 48 * product, 80 * product
    of = [m * gradient + m * square * 10 / 16 + 10 * square for m in (2, 3)]  # the first step has one update
    assert layer_flops(layer, config, range(1, 4)) == (sum(of), sum(of))
    assert [config.active_count(t) for t in (1, 2, 3)] == [1, 2, 3]
    arithmetic = parse_merge(config_of(folder, rule="task_arithmetic"))
    assert layer_flops(layer, arithmetic, range(1, 4)) == (0, 0)


def test_spectra_are_counted_with_their_last_exact_products(folder):
    """Three experts, whose plain sum is step 1: 6 times 32 columns both ways, and 16 + 8 more both ways."""
    config = parse_merge(config_of(folder, rule={"name": "gcwm", "spectrum": {"rank": 16}}))
    layer = Layer("l", 0, "q_proj", 4096, 1024, "float32", "l")
    columns = 2 * 6 * 32 + 2 * (16 + 8)
    assert layer_flops(layer, config, range(1, 2)) == (3 * 2 * 4096 * 1024 * columns,) * 2
