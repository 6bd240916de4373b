"""Damaged checkpoints only ever give a GeodiagError, in one line."""

import fsspec
import numpy as np
import pytest

from geodiag.checkpoints import check_same_layers, fingerprint, match_layers, open_checkpoint
from geodiag.errors import GeodiagError
from tests.checkpoints.conftest import block_weights, save_folder


def damaged(data: bytes, rng: np.random.Generator, *, first: int) -> bytes:
    """A few bytes changed, dropped or added among the `first` ones, or the end cut off."""
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, min(first, len(data)) + 1))
        noise = rng.bytes(int(rng.integers(1, 5)))
        match int(rng.integers(0, 4)):
            case 0:
                data = data[:at] + noise + data[at:]
            case 1:
                data = data[:at] + data[at + len(noise) :]
            case 2:
                data = data[:at] + noise + data[at + len(noise) :]
            case 3:
                data = data[:at]
    return data


def use(folder, layers, **how):
    """Everything that reads a checkpoint; the error's text, or None."""
    try:
        checkpoint = open_checkpoint(folder, **how)
        match_layers(checkpoint)
        fingerprint(checkpoint)
        check_same_layers(layers, checkpoint)
        for layer in layers:
            checkpoint.read_layer(layer)
    except GeodiagError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("file", "first", "rounds"),
    [
        ("model-00002-of-00002.safetensors", 900, 400),
        ("model-00002-of-00002.safetensors", 10, 100),
        ("model.safetensors.index.json", 2000, 300),
        ("config.json", 100, 100),
    ],
)
def test_damage(tmp_path, file, first, rounds):
    rng = np.random.default_rng(5)
    folder = save_folder(tmp_path / "m", block_weights(), config={"model_type": "llama"}, shards=2)
    layers = match_layers(open_checkpoint(folder)).layers
    whole = (folder / file).read_bytes()
    messages = []
    for _ in range(rounds):
        (folder / file).write_bytes(damaged(whole, rng, first=first))
        messages.append(use(folder, layers))
    told = [message for message in messages if message is not None]
    assert len(told) > rounds / 2
    assert all(message and "\n" not in message for message in told)


@pytest.mark.parametrize("where", ["buffered", "remote"])
def test_damage_to_files_that_are_read_by_ranges(tmp_path, where):
    rng = np.random.default_rng(5)
    folder = save_folder(tmp_path / "m", block_weights())
    layers = match_layers(open_checkpoint(folder)).layers
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    fs = fsspec.filesystem("memory")
    messages = []
    for _ in range(300):
        data = damaged(whole, rng, first=900)
        if where == "remote":
            fs.pipe_file("/damage/model.safetensors", data)
            messages.append(use("memory://damage", layers))
        else:
            file.write_bytes(data)
            messages.append(use(folder, layers, reading="buffered"))
    fs.store.clear()
    told = [message for message in messages if message is not None]
    assert len(told) > 150
    assert all(message and "\n" not in message for message in told)
