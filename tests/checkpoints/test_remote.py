"""Checkpoints on servers and slow disks: the same weights, and no byte more than they take."""

import builtins
import io
import json
import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
import torch
from safetensors.torch import save_file

from geodiag.checkpoints import fingerprint, match_layers, open_checkpoint, open_model
from geodiag.common.remote import RemotePath, absolute, as_path
from geodiag.errors import CheckpointError, SettingsError
from tests.checkpoints.conftest import block_weights, save_folder

PADDING = 2_000_000
"""Bytes of an embedding that nobody asks for."""


class Ranges(SimpleHTTPRequestHandler):
    """A static server that answers range requests and counts what it sends."""

    honest = True

    def send_head(self):
        wanted = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            return super().send_head()  # an index page, as many servers give
        if not path.is_file():
            self.send_error(403 if "secret" in self.path else 404)
            return None
        data = path.read_bytes()
        if wanted is not None and self.honest:
            start, stop = wanted.removeprefix("bytes=").split("-")
            data = data[int(start) : int(stop) + 1]
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", str(path.stat().st_mtime_ns))
        self.end_headers()
        if self.command == "GET":
            self.server.sent[path.name] = self.server.sent.get(path.name, 0) + len(data)
        return io.BytesIO(data)

    def log_message(self, *_):
        """In silence."""


class Dishonest(Ranges):
    honest = False


@pytest.fixture
def serve(tmp_path):
    servers = []

    def start(handler=Ranges):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path)))
        server.sent = {}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()


def upload(fs, folder, address):
    for file in folder.iterdir():
        fs.pipe_file(f"{address}/{file.name}", file.read_bytes())
    return f"memory:/{address}"


def weights_with_padding():
    return block_weights() | {"model.embed_tokens.weight": torch.zeros(PADDING // 4)}


def read_all(checkpoint):
    for layer in match_layers(checkpoint).layers:
        checkpoint.read_layer(layer)


def same_layers(checkpoint, weights):
    table = match_layers(checkpoint)
    assert len(table.layers) == 14
    for layer in table.layers:
        assert torch.equal(checkpoint.read_layer(layer), weights[layer.tensor])


@pytest.mark.parametrize("shards", [1, 3])
def test_over_http_only_headers_and_the_layers_themselves_are_sent(tmp_path, serve, shards):
    weights = weights_with_padding()
    save_folder(tmp_path / "m", weights, config={"model_type": "llama"}, shards=shards)
    server = serve()
    checkpoint = open_checkpoint(f"{server.url}/m")
    headers = sum(server.sent.values())
    assert headers < 6000
    assert checkpoint.config == {"model_type": "llama"}
    same_layers(checkpoint, weights)
    layers = sum(weight.numel() * 4 for name, weight in weights.items() if "layers" in name)
    # The layers' own bytes, and the header of each shard anew whenever reading moves on to another.
    assert layers <= sum(server.sent.values()) - headers < layers + 30_000
    assert sum(server.sent.values()) < PADDING / 20


def test_a_layer_over_http_takes_exactly_its_bytes(tmp_path, serve):
    save_folder(tmp_path / "m", weights_with_padding())
    server = serve()
    checkpoint = open_checkpoint(f"{server.url}/m/model.safetensors")
    layer = match_layers(checkpoint).layers[0]
    checkpoint.read_layer(layer)
    before = server.sent["model.safetensors"]
    checkpoint.read_layer(layer)
    assert server.sent["model.safetensors"] - before == layer.d_out * layer.d_in * 4


def test_a_header_is_asked_for_once_however_large_the_tensors(tmp_path, serve):
    large = {f"model.layers.{n}.self_attn.q_proj.weight": torch.zeros(4096, 2100) for n in range(2)}
    save_folder(tmp_path / "m", large)
    server = serve()
    checkpoint = open_checkpoint(f"{server.url}/m")
    checkpoint.read_layer(match_layers(checkpoint).layers[0])
    before = server.sent["model.safetensors"]
    read_all(checkpoint)
    assert server.sent["model.safetensors"] - before == 2 * 4096 * 2100 * 4


def test_an_adapter_over_http(tmp_path, serve):
    weights = block_weights()
    save_folder(tmp_path / "base", weights)
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora/adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    B, A = torch.randn(6, 2), torch.randn(2, 4)
    save_file({name.format("B"): B, name.format("A"): A}, tmp_path / "lora/adapter_model.safetensors")
    server = serve()
    base = open_checkpoint(tmp_path / "base")
    adapter = open_model(f"{server.url}/lora", base=base)
    factors = adapter.read_layer(match_layers(base).layers[0])
    assert torch.equal(factors.B, B)
    assert torch.equal(factors.A, A)
    assert factors.scale == 2.0
    assert fingerprint(adapter) == fingerprint(open_model(f"{server.url}/lora", base=base))


@pytest.mark.parametrize("shards", [1, 3])
def test_in_a_file_system_that_lists_its_folders(tmp_path, memory, shards):
    weights = block_weights(dtype=torch.bfloat16)
    address = upload(memory, save_folder(tmp_path / "m", weights, shards=shards), "/bucket/m")
    same_layers(open_checkpoint(address), weights)


def test_a_file_address_is_a_path(tmp_path):
    weights = block_weights()
    folder = save_folder(tmp_path / "my model", weights)
    checkpoint = open_checkpoint(f"file://{tmp_path}/my%20model")
    assert checkpoint.path == folder
    same_layers(checkpoint, weights)


@pytest.fixture
def asked(monkeypatch):
    """How many bytes each plain read gave."""
    counts, read = [], torch.frombuffer
    monkeypatch.setattr(torch, "frombuffer", lambda data, **kw: counts.append(len(data)) or read(data, **kw))
    return counts


def test_a_stacked_expert_takes_its_own_bytes(tmp_path, asked):
    stacked = {
        "model.layers.0.mlp.experts.gate_up_proj": torch.randn(3, 16, 4),  # 3 experts of 8 gates and 8 ups
        "model.layers.0.mlp.experts.down_proj": torch.randn(3, 4, 8),
    }
    config = {"model_type": "qwen3_moe", "num_experts": 3, "moe_intermediate_size": 8, "hidden_size": 4}
    folder = save_folder(tmp_path / "m", stacked, config=config)
    buffered, mapped = open_checkpoint(folder, reading="buffered"), open_checkpoint(folder)
    layers = match_layers(buffered).layers
    assert len(layers) == 9
    for layer in layers:
        assert torch.equal(buffered.read_layer(layer), mapped.read_layer(layer))
    assert sorted(set(asked)) == [4 * 8 * 4, 16 * 4 * 4]  # one expert's down, and one expert's gate and up


def test_fused_rows_take_their_own_bytes(tmp_path, asked):
    fused = {"model.layers.0.self_attn.qkv_proj.weight": torch.randn(32, 16)}
    config = {"model_type": "phi3", "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 16}
    checkpoint = open_checkpoint(save_folder(tmp_path / "f", fused, config=config), reading="buffered")
    layers = match_layers(checkpoint).layers
    rows = torch.cat([checkpoint.read_layer(layer) for layer in layers])
    assert torch.equal(rows, fused["model.layers.0.self_attn.qkv_proj.weight"])
    assert asked == [16 * 16 * 4, 8 * 16 * 4, 8 * 16 * 4]  # 2 heads of 8 rows, and 1 key-value head twice


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_buffered_and_mapped_are_the_same(tmp_path, dtype):
    weights = block_weights(dtype=dtype) | {"one": torch.ones((), dtype=dtype), "none": torch.ones((0, 3), dtype=dtype)}
    folder = save_folder(tmp_path / "m", weights, shards=2)
    buffered, mapped = open_checkpoint(folder, reading="buffered"), open_checkpoint(folder)
    same_layers(buffered, weights)
    for name, weight in weights.items():
        assert torch.equal(buffered.read(name), weight)
        assert buffered.read(name).dtype == mapped.read(name).dtype == dtype
    assert fingerprint(buffered) == fingerprint(mapped)
    assert open_model(folder, base=buffered).reading == "buffered"


def test_an_open_checkpoint_can_be_sent_to_another_process(tmp_path, serve):
    weights = block_weights()
    save_folder(tmp_path / "m", weights)
    checkpoint = open_checkpoint(f"{serve().url}/m")
    same_layers(checkpoint, weights)
    sent = pickle.loads(pickle.dumps(checkpoint))
    assert sent.path == checkpoint.path
    same_layers(sent, weights)


def test_a_remote_checkpoint_that_changed_has_another_fingerprint(tmp_path, serve):
    import os

    folder = save_folder(tmp_path / "m", block_weights())
    address = f"{serve().url}/m"
    before = fingerprint(open_checkpoint(address))
    assert before == fingerprint(open_checkpoint(address))
    os.utime(folder / "model.safetensors", (1, 1))
    assert fingerprint(open_checkpoint(address)) != before


def error_of(address, **more):
    with pytest.raises((CheckpointError, SettingsError)) as caught:
        read_all(open_checkpoint(address, **more))
    return str(caught.value)


def test_what_is_not_there(tmp_path, serve, memory):
    save_folder(tmp_path / "m", block_weights())
    url = serve().url
    assert error_of(f"{url}/n") == (
        f"{url}/n: holds no safetensors weights; give a folder with model.safetensors, or with "
        "model.safetensors.index.json and its shards"
    )
    assert error_of(f"{url}/").startswith(f"{url}: holds no safetensors weights")
    assert error_of(f"{url}/m/x.safetensors") == f"{url}/m/x.safetensors: no such file or folder; check the path"
    assert error_of("memory://bucket/n") == "memory://bucket/n: no such file or folder; check the path"


def test_a_server_that_refuses_or_does_not_answer(serve):
    url = serve().url
    assert error_of(f"{url}/secret/model.safetensors").startswith(
        f"{url}/secret/model.safetensors: cannot be read (ClientResponseError: 403, message='Forbidden'"
    )
    line = error_of("http://127.0.0.1:9/m")
    assert line.startswith(
        "http://127.0.0.1:9/m/model.safetensors: cannot be read (ClientConnectorError: Cannot connect"
    )
    assert line.endswith("; check the address, and that you may read it")


def test_a_server_that_does_not_know_ranges_sends_no_whole_file(tmp_path, serve):
    save_folder(tmp_path / "m", weights_with_padding())
    server = serve(Dishonest)
    line = error_of(f"{server.url}/m")
    assert line.startswith(
        f"{server.url}/m/model.safetensors: cannot be read (ValueError: The HTTP server doesn't appear"
    )
    assert "range requests" in line


def test_a_file_that_became_shorter(tmp_path, memory):
    folder = save_folder(tmp_path / "m", block_weights())
    address = upload(memory, folder, "/bucket/m")
    checkpoint = open_checkpoint(address)
    file = "/bucket/m/model.safetensors"
    memory.pipe_file(file, memory.cat_file(file)[:-100])
    with pytest.raises(CheckpointError) as caught:
        read_all(checkpoint)
    # Tensors lie in the order of their names: of the last 128 bytes 96 are q_proj's, read first, and 32 v_proj's.
    assert str(caught.value) == (
        "memory://bucket/m/model.safetensors: 28 bytes came where 96 were asked for; the server has to answer range "
        "requests, and the file be whole"
    )


def test_a_local_file_that_became_shorter(tmp_path):
    file = save_folder(tmp_path / "m", block_weights()) / "model.safetensors"
    checkpoint = open_checkpoint(file, reading="buffered")
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(CheckpointError) as caught:
        read_all(checkpoint)
    assert str(caught.value) == (
        f"{file}: truncated or damaged safetensors file (30 bytes are missing); copy or download it again"
    )


LYING = b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}'


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "the file is empty; copy or download it again"),
        (b"<html>not found</html>", "a web page or XML, not safetensors; download the file again"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the weights; run `git lfs pull` "
         "in its folder"),
        (b"\x10\0\0\0\0\0\0\0{}", "truncated or damaged safetensors file (header is cut off); copy or download it "
         "again"),
        (b"\x02\0\0\0\0\0\0\0[]", "truncated or damaged safetensors file (AttributeError 'list' object has no "
         "attribute 'items'); copy or download it again"),
(len(LYING).to_bytes(8, "little") + LYING, "truncated or damaged "
         "safetensors file (ValueError offsets do not fit the shape); copy or download it again"),
    ],
    ids=["empty", "page", "lfs", "cut", "list", "offsets"],
)  # fmt: skip
def test_files_that_are_no_safetensors(memory, data, what):
    memory.pipe_file("/bucket/model.safetensors", data)
    assert error_of("memory://bucket/model.safetensors") == f"memory://bucket/model.safetensors: {what}"


def test_an_unknown_protocol_and_an_unknown_way_of_reading(tmp_path):
    assert error_of("nope://a/b") == (
        "nope://a/b: no file system is known by nope://; use a path, http(s):// or an address that fsspec reads"
    )
    folder = save_folder(tmp_path / "m", block_weights())
    assert error_of(folder, reading="fast") == "--read: reading is 'fast'; one of mmap, buffered"


def test_without_fsspec_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("fsspec"):
            raise ImportError("No module named 'fsspec'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert error_of("s3://bucket/base") == (
        "s3://bucket/base: reading it needs a package that is not installed (No module named 'fsspec'); pip install "
        '"geodiag[remote]"'
    )


def test_without_a_driver_it_is_named():
    assert error_of("s3://bucket/base") == (
        "s3://bucket/base: reading it needs a package that is not installed (Install s3fs to access S3); install the "
        "driver of s3:// for fsspec"
    )


def test_addresses_are_used_like_paths():
    path = as_path("https://host/models/base/")
    assert isinstance(path, RemotePath)
    assert str(path / "model.safetensors") == "https://host/models/base/model.safetensors"
    assert (str(path.parent), path.name) == ("https://host/models", "base")
    assert str(path.with_name("x")) == "https://host/models/x"
    assert absolute("https://host/a") == as_path("https://host/a")
    assert absolute(path) is path
    assert pickle.loads(pickle.dumps(path)) == path
    assert {path: 1}[as_path("https://host/models/base")] == 1
    assert as_path("file:///a/b%20c") == Path("/a/b c")
    assert as_path("a/b") == Path("a/b")


def test_opening_by_address_does_not_load_fsspec_for_local_paths(tmp_path):
    import subprocess
    import sys

    save_folder(tmp_path / "m", block_weights())
    code = (
        "import sys; from pathlib import Path; from geodiag.checkpoints import *; "
        f"c = open_checkpoint(Path({str(tmp_path / 'm')!r}), reading='buffered'); match_layers(c); fingerprint(c); "
        "sys.exit('fsspec' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_config_beside_remote_weights_is_checked(tmp_path, memory):
    address = upload(memory, save_folder(tmp_path / "m", block_weights(), config={}), "/bucket/m")
    memory.pipe_file("/bucket/m/config.json", json.dumps([1]).encode())
    assert error_of(address) == "memory://bucket/m/config.json: not a JSON object; copy or download it again"
