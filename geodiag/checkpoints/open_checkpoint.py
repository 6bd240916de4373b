"""Opening the checkpoint or adapter at a path, by the layout of its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from geodiag.checkpoints import unsupported as refused
from geodiag.checkpoints.adapter import Adapter
from geodiag.checkpoints.checkpoint import Checkpoint
from geodiag.checkpoints.open_adapter import open_adapter
from geodiag.checkpoints.safetensors_file import Reading, TensorInfo, read_infos, read_shards
from geodiag.common.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, find_adapter
from geodiag.common.files import read_json_object
from geodiag.common.remote import absolute, names_in
from geodiag.errors import CheckpointError, SettingsError

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_NAMES = (_SINGLE, _INDEX, ADAPTER_CONFIG, ADAPTER_WEIGHTS, "pytorch_model.bin", "pytorch_model.bin.index.json")
"""File names to ask for in a remote folder that cannot be listed."""
READINGS: tuple[Reading, ...] = ("mmap", "buffered")
"""Every way of reading local files."""


@dataclass(frozen=True)
class Layout:
    """One layout of the files of a model in a folder."""

    name: str
    """Its name."""
    recognised: Callable[[Path, frozenset[str]], bool]
    """Whether a folder with these entries has this layout."""
    open: Callable[[Path, frozenset[str]], Checkpoint]
    """Opens the folder, or raises why it is not supported."""


def open_checkpoint(path: str | Path, *, reading: Reading = "mmap") -> Checkpoint:
    """Open a checkpoint, reading headers only.

    Args:
        path: a Hugging Face folder (`model.safetensors`, or shards with their index), a folder with one
            safetensors file of another name, or a safetensors file; or the address of one of these, such as
            `https://...` or `s3://...`.
        reading: `mmap`, or `buffered` for network file systems; remote files are always read by ranges.

    Returns:
        The checkpoint; no weight has been read.

    Raises:
        CheckpointError: there is nothing, or nothing that can be read; pickles and adapters come with the
            command that converts them.
        SettingsError: there is no such way of reading.
    """
    reading = check_reading(reading)
    path = absolute(path)
    try:
        entries = frozenset(names_in(path, among=_NAMES)) if path.is_dir() else None
        if entries is None and not path.is_file():
            raise CheckpointError("no such file or folder", where=path, fix="check the path")
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", where=path) from error
    if entries is None:
        return replace(_open_file(path), reading=reading)
    for layout in CHECKPOINT_LAYOUTS:
        if layout.recognised(path, entries):
            return replace(layout.open(path, entries), reading=reading)
    _refuse_folder(path, entries)


def check_reading(name: str) -> Reading:
    """The way of reading by its name.

    Raises:
        SettingsError: there is none of that name.
    """
    for reading in READINGS:
        if reading == name:
            return reading
    raise SettingsError(f"reading is {name!r}", where="--read", fix=f"one of {', '.join(READINGS)}")


def open_model(path: str | Path, *, base: Checkpoint) -> Checkpoint | Adapter:
    """Open a state or an expert of a run: whole weights, or a LoRA adapter of its base.

    Args:
        path: as `open_checkpoint` takes it, or a PEFT LoRA adapter in any of the forms of `find_adapter`.
        base: the run's base. Its configuration stands in where a checkpoint has none of its own, and its way of
            reading is the other's too.

    Raises:
        CheckpointError: there is nothing that can be read, or an adapter of another kind or model.
    """
    path = absolute(path)
    # Where whole weights lie beside an adapter, opening them as a checkpoint says so.
    if find_adapter(path) is not None and not (path.is_dir() and _safetensors(names_in(path, among=_NAMES))):
        return open_adapter(path, base=base)
    checkpoint = open_checkpoint(path, reading=base.reading)
    return checkpoint if checkpoint.config else replace(checkpoint, config=base.config)


def _open_file(path: Path) -> Checkpoint:
    if path.suffix in refused.PICKLES:
        raise refused.pickled_file(path)
    if path.name.endswith(".safetensors.index.json") or path.name in ("config.json", ADAPTER_CONFIG):
        raise CheckpointError("a file that only describes weights", where=path, fix=f"give its folder {path.parent}")
    if path.suffix == ".gguf":
        raise refused.gguf(path)
    if path.suffix != ".safetensors":
        message = f"the ending {path.suffix!r} is not that of a checkpoint"
        raise CheckpointError(message, where=path, fix="give a .safetensors file or a Hugging Face folder")
    return _whole(path, path)


def _whole(path: Path, file: Path) -> Checkpoint:
    """A checkpoint with all its tensors in one file."""
    tensors: dict[str, tuple[TensorInfo, Path]] = {}
    for name, info in read_infos(file).items():
        if ".lora_A." in name:
            raise refused.adapter(file.parent)
        tensors[name] = (info, file)
    if not tensors:
        raise CheckpointError("holds no tensors", where=file, fix="save the checkpoint again")
    return Checkpoint(path, _config(file.parent), tensors)


def _sharded(path: Path, _entries: frozenset[str]) -> Checkpoint:
    return Checkpoint(path, _config(path), read_shards(path / _INDEX))


def _config(folder: Path) -> dict[str, object]:
    file = folder / "config.json"
    return read_json_object(file) if file.is_file() else {}


def _safetensors(entries: Iterable[str]) -> list[str]:
    return sorted(name for name in entries if name.endswith(".safetensors") and name != ADAPTER_WEIGHTS)


def _refuse_adapter(path: Path, entries: frozenset[str]) -> Checkpoint:
    if _safetensors(entries):
        message = f"holds both whole weights and an adapter ({ADAPTER_CONFIG})"
        raise CheckpointError(message, where=path, fix="keep one of them in the folder")
    raise refused.adapter(path)


def _refuse_pickles(path: Path, _entries: frozenset[str]) -> Checkpoint:
    raise refused.pickled_folder(path)


def _has_pickles(entries: frozenset[str]) -> bool:
    weights = [name for name in entries if name.endswith(refused.PICKLES)]
    return any(name.startswith(("pytorch_model", "model", "consolidated")) for name in weights)


CHECKPOINT_LAYOUTS: tuple[Layout, ...] = (
    Layout("adapter", lambda _, entries: ADAPTER_CONFIG in entries, _refuse_adapter),
    Layout("one file", lambda _, entries: _SINGLE in entries, lambda path, _: _whole(path, path / _SINGLE)),
    Layout("shards", lambda _, entries: _INDEX in entries, _sharded),
    Layout(
        "one file of another name",
        lambda _, entries: len(_safetensors(entries)) == 1 and "-of-" not in _safetensors(entries)[0],
        lambda path, entries: _whole(path, path / _safetensors(entries)[0]),
    ),
    Layout("pickles", lambda _, entries: not _safetensors(entries) and _has_pickles(entries), _refuse_pickles),
)
"""Every layout, in the order in which they are tried."""

_TRAINER_STATE = ("pytorch_model_fsdp_", "global_step", "zero_pp_rank", "mp_rank")


def _refuse_folder(path: Path, entries: frozenset[str]) -> NoReturn:
    """Raise the error of a folder that is no checkpoint, by its content."""
    files = _safetensors(entries)
    if files:
        message = f"{len(files)} safetensors files ({files[0]}, ...) and no {_INDEX}"
        raise CheckpointError(message, where=path, fix="copy or download the index too, or name one file")
    state = sorted(name for name in entries if name.startswith(_TRAINER_STATE) or name.endswith(".distcp"))
    if state:
        raise refused.training_state(path, state[0])
    ggufs = sorted(name for name in entries if name.endswith(".gguf"))
    if ggufs:
        raise refused.gguf(path / ggufs[0])
    inside = sorted(name for name in entries if any((path / name / file).is_file() for file in (_SINGLE, _INDEX)))
    if inside:
        message = "holds no weights itself, but its folders do"
        raise CheckpointError(message, where=path, fix=f"give one of them: {', '.join(inside[:6])}")
    fix = f"give a folder with {_SINGLE}, or with {_INDEX} and its shards"
    raise CheckpointError("holds no safetensors weights", where=path, fix=fix)
