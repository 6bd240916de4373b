import json
import os
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from geodiag.checkpoints import fingerprint, open_checkpoint
from geodiag.errors import CheckpointError
from tests.checkpoints.conftest import TEXT, block_weights, save_folder


def error_of(path):
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert caught.value.__cause__ is None or "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_with_one_file(tmp_path):
    weights = block_weights()
    checkpoint = open_checkpoint(save_folder(tmp_path / "m", weights, config={"model_type": "llama"}))
    assert checkpoint.path == tmp_path / "m"
    assert checkpoint.config == {"model_type": "llama"}
    assert set(checkpoint.names) == set(weights)
    assert checkpoint.files == (tmp_path / "m" / "model.safetensors",)
    info = checkpoint.info("model.layers.0.self_attn.q_proj.weight")
    assert (info.shape, info.dtype) == ((6, 4), "float32")
    assert torch.equal(
        checkpoint.read("model.layers.1.mlp.up_proj.weight"), weights["model.layers.1.mlp.up_proj.weight"]
    )


def test_a_single_file_takes_the_config_beside_it(tmp_path):
    save_file({"w": torch.ones(2, 3)}, tmp_path / "a.safetensors")
    assert open_checkpoint(tmp_path / "a.safetensors").config == {}
    (tmp_path / "config.json").write_text('{"model_type": "x"}')
    assert open_checkpoint(tmp_path / "a.safetensors").config == {"model_type": "x"}
    assert open_checkpoint(tmp_path).names == ("w",)


def test_shards_are_read_in_any_order(tmp_path):
    weights = block_weights()
    checkpoint = open_checkpoint(save_folder(tmp_path / "m", weights, shards=3))
    assert len(checkpoint.files) == 3
    for name in [*weights, *reversed(weights)]:
        assert torch.equal(checkpoint.read(name), weights[name])


def test_a_linked_cache_is_a_folder_like_any_other(tmp_path):
    save_folder(tmp_path / "blobs", block_weights(), shards=2)
    (tmp_path / "snapshot").mkdir()
    for file in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    assert len(open_checkpoint(tmp_path / "snapshot").names) == 14


def test_opening_does_not_load_torch(tmp_path):
    save_folder(tmp_path / "m", block_weights(), shards=2)
    code = (
        "import sys; from pathlib import Path; from geodiag.checkpoints import *; "
        f"c = open_checkpoint(Path({str(tmp_path / 'm')!r})); t = match_layers(c); check_same_layers(t.layers, c); "
        "fingerprint(c); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_tensor(tmp_path):
    checkpoint = open_checkpoint(save_folder(tmp_path / "m", block_weights()))
    for access in (checkpoint.info, checkpoint.read):
        with pytest.raises(CheckpointError) as caught:
            access("w")
        assert str(caught.value) == f"{tmp_path}/m: tensor w: there is no such tensor"


AGAIN = "save, copy or download the checkpoint again"
NO_MAP = "'weight_map' is missing or empty; it maps each tensor to its shard: {\"weight_map\": {...}}"
OUTSIDE = "lies outside the checkpoint's folder; shards are files beside the index"
INDEX = [
    ({"weight_map": {}}, NO_MAP),
    ({"a": 1}, NO_MAP),
    ({"weight_map": ["a"]}, NO_MAP),
    ([], "not a JSON object; copy or download it again"),
    (
        {"weight_map": {"w": {"file": "a"}}},
        f"tensor w: 'weight_map' gives \"{{'file': 'a'}}\" where a file name belongs; {AGAIN}",
    ),
    ({"weight_map": {"w": ""}}, f"tensor w: 'weight_map' gives '' where a file name belongs; {AGAIN}"),
    ({"weight_map": {"w": "../a.safetensors"}}, f"the shard '../a.safetensors' {OUTSIDE}"),
    ({"weight_map": {"w": "x/..\\..\\a"}}, f"the shard 'x/..\\\\..\\\\a' {OUTSIDE}"),
    ({"weight_map": {"w": "/etc/passwd"}}, f"the shard '/etc/passwd' {OUTSIDE}"),
    ({"weight_map": {"w": "C:\\a"}}, f"the shard 'C:\\\\a' {OUTSIDE}"),
    (
        {"weight_map": {"w": "gone.safetensors"}},
        "the shard 'gone.safetensors' is not there; copy or download the missing file",
    ),
    (
        {"weight_map": {"w": "model-00001-of-00002.safetensors"}},
        f"tensor w: the index puts it in model-00001-of-00002.safetensors, which does not hold it; {AGAIN}",
    ),
]


@pytest.mark.parametrize(("index", "message"), INDEX, ids=[str(n) for n in range(len(INDEX))])
def test_a_wrong_index(tmp_path, index, message):
    folder = save_folder(tmp_path / "m", block_weights(), shards=2)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert error_of(folder) == f"{folder}/model.safetensors.index.json: {message}"


def test_an_index_that_is_no_json_names_the_line(tmp_path):
    folder = save_folder(tmp_path / "m", block_weights(), shards=2)
    (folder / "model.safetensors.index.json").write_text('{\n"weight_map": {"a": }}')
    assert error_of(folder) == (
        f"{folder}/model.safetensors.index.json:2: not valid JSON: Expecting value; copy or download it again"
    )
    (folder / "model.safetensors.index.json").write_text("[" * 200_000)
    assert error_of(folder).endswith("not valid JSON: nested or sized beyond reason")
    (folder / "model.safetensors.index.json").write_bytes(b"\xff{}")
    assert error_of(folder).endswith("not UTF-8 text at byte 0; copy or download it again")


def test_a_wrong_config(tmp_path):
    folder = save_folder(tmp_path / "m", block_weights())
    (folder / "config.json").write_text("{")
    assert error_of(folder).startswith(f"{folder}/config.json:1: not valid JSON: ")


def damage_told(reason):
    return f"truncated or damaged safetensors file ({reason}); copy or download it again"


FILES = [
    (lambda data: b"", "the file is empty; copy or download it again"),
    (lambda data: data[:5], damage_told("header too small")),
    (lambda data: data[:100], damage_told("invalid header length")),
    (lambda data: data[:-1], damage_told("incomplete metadata, file not fully covered")),
    (lambda data: (2**62).to_bytes(8, "little") + data[8:], damage_told("header too large")),
    (
        lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
        "a Git LFS pointer, not the weights; run `git lfs pull` in its folder",
    ),
    (lambda data: b"PK\x03\x04" + data, "a PyTorch zip file, not safetensors; convert it to safetensors"),
    (lambda data: b"\x80\x02" + data, "a Python pickle, not safetensors; convert it to safetensors"),
    (lambda data: b"GGUF" + data, "a GGUF file, not safetensors; bring the checkpoint in safetensors"),
    (lambda data: b"<!DOCTYPE html>", "a web page or XML, not safetensors; download the file again"),
]


@pytest.mark.parametrize(("damage", "message"), FILES, ids=[str(n) for n in range(len(FILES))])
@pytest.mark.parametrize("shards", [1, 2])
def test_damaged_files_are_named(tmp_path, damage, message, shards):
    folder = save_folder(tmp_path / "m", block_weights(), shards=shards)
    file = sorted(folder.glob("*.safetensors"))[-1]
    file.write_bytes(damage(file.read_bytes()))
    assert error_of(folder) == f"{file}: {message}"


def header(file, header):
    data = json.dumps(header).encode()
    file.write_bytes(len(data).to_bytes(8, "little") + data + b"\0" * 16)
    return file


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 160]}, "invalid shape, data type, or offset"),
        ({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 16]}, "invalid shape, data type, or offset"),
        ({"dtype": "F32", "shape": [2, 2], "data_offsets": [4, 20]}, "invalid offset for tensor `w`"),
        ({"dtype": "F99", "shape": [2, 2], "data_offsets": [0, 16]}, "unknown variant `F99`"),
        ({"dtype": "F32", "shape": [2, 2]}, "missing field `data_offsets`"),
        ([1], "invalid"),
    ],
)
def test_headers_that_lie(tmp_path, entry, reason):
    file = header(tmp_path / "a.safetensors", {"w": entry})
    message = error_of(file)
    assert message.startswith(f"{file}: truncated or damaged safetensors file ({reason}")
    assert message.endswith("); copy or download it again")
    assert len(message) < len(str(file)) + 260


def test_a_file_without_tensors(tmp_path):
    save_file({}, tmp_path / "a.safetensors")
    assert error_of(tmp_path / "a.safetensors") == (
        f"{tmp_path}/a.safetensors: holds no tensors; save the checkpoint again"
    )


def test_a_file_that_goes_away_after_opening(tmp_path):
    folder = save_folder(tmp_path / "m", block_weights())
    checkpoint = open_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read("model.layers.0.mlp.up_proj.weight")
    assert str(caught.value) == (
        f"{folder}/model.safetensors: cannot be read (No such file or directory); check that the file is there and may "
        "be read"
    )
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        fingerprint(checkpoint)


def test_nothing_there(tmp_path):
    assert error_of(tmp_path / "no") == f"{tmp_path}/no: no such file or folder; check the path"
    assert error_of(tmp_path) == (
        f"{tmp_path}: holds no safetensors weights; give a folder with model.safetensors, or with "
        "model.safetensors.index.json and its shards"
    )
    assert "cannot be read (File name too long)" in error_of(tmp_path / ("x" * 300))


def test_a_folder_of_checkpoints_names_them(tmp_path):
    save_folder(tmp_path / "checkpoint-500", block_weights(), shards=2)
    save_folder(tmp_path / "checkpoint-1000", block_weights())
    assert error_of(tmp_path) == (
        f"{tmp_path}: holds no weights itself, but its folders do; give one of them: checkpoint-1000, checkpoint-500"
    )


def test_files_that_are_no_weights(tmp_path):
    save_folder(tmp_path / "m", block_weights(), config={}, shards=2)
    for name in ("model.safetensors.index.json", "config.json"):
        assert error_of(tmp_path / "m" / name) == (
            f"{tmp_path}/m/{name}: a file that only describes weights; give its folder {tmp_path}/m"
        )
    (tmp_path / "a.onnx").touch()
    assert error_of(tmp_path / "a.onnx") == (
        f"{tmp_path}/a.onnx: the ending '.onnx' is not that of a checkpoint; give a .safetensors file or a Hugging "
        "Face folder"
    )


def test_gguf_is_refused_by_name(tmp_path):
    (tmp_path / "m-Q4_K_M.gguf").touch()
    for path in (tmp_path, tmp_path / "m-Q4_K_M.gguf"):
        assert error_of(path) == (
            f"{tmp_path}/m-Q4_K_M.gguf: a GGUF file, whose weights are packed for llama.cpp; bring the Hugging Face "
            "checkpoint that it was made from"
        )


def test_several_files_without_an_index(tmp_path):
    folder = save_folder(tmp_path / "m", block_weights(), shards=2)
    (folder / "model.safetensors.index.json").unlink()
    assert error_of(folder) == (
        f"{folder}: 2 safetensors files (model-00001-of-00002.safetensors, ...) and no model.safetensors.index.json; "
        "copy or download the index too, or name one file"
    )
    (folder / "model-00001-of-00002.safetensors").unlink()
    assert error_of(folder).startswith(f"{folder}: 1 safetensors files (model-00002-of-00002.safetensors, ...) and no ")


def test_the_state_of_a_trainer(tmp_path):
    (tmp_path / "global_step100").mkdir()
    assert error_of(tmp_path) == (
        f"{tmp_path}: the sharded state of a trainer (global_step100), not a model; save the model itself: "
        "`accelerate merge-weights` (FSDP), `zero_to_fp32.py --safe_serialization` (DeepSpeed)"
    )


def test_adapters_are_refused_with_the_command_that_merges(tmp_path):
    folder = tmp_path / "lora"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    save_file({"base_model.model.q_proj.lora_A.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    message = (
        f"{folder}: a LoRA adapter, not a checkpoint with whole weights; merge it first: python -c "
        "'from peft import AutoPeftModelForCausalLM as M; "
        f'M.from_pretrained("{folder}", dtype="auto").merge_and_unload().save_pretrained("{folder}-merged")\''
    )
    assert error_of(folder) == message
    assert error_of(folder / "adapter_model.safetensors") == message
    save_file({"w": torch.ones(2, 2)}, folder / "model.safetensors")
    assert error_of(folder) == (
        f"{folder}: holds both whole weights and an adapter (adapter_config.json); keep one of them in the folder"
    )


def command_in(message):
    return re.search(r"python -c '(.*)'$", message).group(1)


def test_a_pickled_file_is_refused_with_a_command_that_works(tmp_path):
    shared = torch.randn(3, 4)
    torch.save({"a": shared, "b": shared, "c": shared.T}, tmp_path / "old.pt")
    message = error_of(tmp_path / "old.pt")
    assert message.startswith(
        f"{tmp_path}/old.pt: a pickle, which runs code when loaded; convert it first: python -c 'import torch; "
    )
    exec(command_in(message), {})
    checkpoint = open_checkpoint(tmp_path / "old.safetensors")
    assert torch.equal(checkpoint.read("c"), shared.T)


def test_a_pickled_folder_is_refused_with_a_command_that_works(tmp_path):
    from transformers import AutoModelForCausalLM, LlamaConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = AutoModelForCausalLM.from_config(LlamaConfig(**TEXT))
    model.config.save_pretrained(tmp_path / "old")
    torch.save(model.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    message = error_of(tmp_path / "old")
    assert message == (
        f"{tmp_path}/old: the weights are pickles, which run code when loaded; convert it first: python -c "
        "'from transformers import AutoModelForCausalLM as M; "
        f'M.from_pretrained("{tmp_path}/old", dtype="auto").save_pretrained("{tmp_path}/old-safetensors")\''
    )
    exec(command_in(message), {})
    name = "model.layers.1.mlp.up_proj.weight"
    assert torch.equal(open_checkpoint(tmp_path / "old-safetensors").read(name), model.state_dict()[name])


@pytest.mark.parametrize("ending", [".bin", ".pt", ".pth"])
def test_every_pickle_ending_is_refused(tmp_path, ending):
    (tmp_path / f"x{ending}").touch()
    assert "a pickle, which runs code when loaded" in error_of(tmp_path / f"x{ending}")
    (tmp_path / f"pytorch_model-00001-of-00002{ending}").touch()
    assert "the weights are pickles" in error_of(tmp_path)


def test_training_leftovers_are_no_weights(tmp_path):
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth"):
        (tmp_path / name).touch()
    assert "holds no safetensors weights" in error_of(tmp_path)


def test_fingerprints_follow_the_files(tmp_path):
    folder = save_folder(tmp_path / "m", block_weights(), shards=2)
    file = folder / "model-00001-of-00002.safetensors"
    first = fingerprint(open_checkpoint(folder))
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert fingerprint(open_checkpoint(folder)) == first
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert fingerprint(open_checkpoint(folder)) != first
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint(open_checkpoint(folder)) == first
    folder.rename(tmp_path / "moved")
    assert fingerprint(open_checkpoint(tmp_path / "moved")) == first


def test_fingerprints_see_renamed_tensors_of_one_size_and_time(tmp_path):
    keys = []
    for name in ("a", "b"):
        save_file({name: torch.zeros(2, 2)}, tmp_path / "m.safetensors")
        os.utime(tmp_path / "m.safetensors", ns=(0, 0))
        keys.append(fingerprint(open_checkpoint(tmp_path / "m.safetensors")))
    assert keys[0] != keys[1]
