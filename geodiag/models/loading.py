"""Models and tokenizers of a run from local files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geodiag.checkpoints import Checkpoint, open_checkpoint, open_model
from geodiag.common.adapters import find_adapter
from geodiag.common.files import read_json_object
from geodiag.common.text import first_line
from geodiag.errors import CheckpointError, SettingsError

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


def load_model(state: Path, *, base: Path, device: torch.device, precision: str) -> nn.Module:
    """The causal language model of a state, in evaluation mode and with no weight asking for a gradient.

    Weights are read as `open_checkpoint` reads them, so pickles are refused; no code that lies beside them runs.

    Args:
        state: what `open_model` takes: a checkpoint, or a PEFT adapter, which is merged into the base in float32.
        base: the run's base; it also gives the configuration where the state has none.
        device: where the model goes.
        precision: `float32` or `bfloat16`.

    Raises:
        CheckpointError: no configuration or weights, weights that do not fit it, or an adapter that does not
            fit the base.
        SettingsError: transformers, or peft for an adapter, is not installed.
    """
    dtype = getattr(torch, precision)
    base_weights = open_checkpoint(base)
    weights = open_model(state, base=base_weights)
    with quiet():
        if weights.kind == "adapter":
            model = _merged(causal_model(base_weights, base=base, dtype=torch.float32), weights.path)
        else:
            model = causal_model(weights, base=base, dtype=dtype)
    model.eval().requires_grad_(False)
    return model.to(device=device, dtype=dtype)


def load_tokenizer(state: Path, *, base: Path) -> Any:
    """The tokenizer that lies with a state, or else with the base.

    Raises:
        CheckpointError: neither has one, or it cannot be read.
        SettingsError: transformers is not installed.
    """
    adapter = find_adapter(state)
    folders = _folders(*((state, base) if adapter is None else (state, adapter.folder, base)))
    folder = next((f for f in folders if any((f / name).is_file() for name in _TOKENIZER)), None)
    if folder is None:
        message = "neither the state nor the base has a tokenizer"
        raise CheckpointError(message, where=folders[-1], fix="save it there: tokenizer.save_pretrained(folder)")
    with quiet(), _installed("transformers"):
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"the tokenizer cannot be read ({first_line(error)})", where=folder) from error


def _folders(*paths: Path) -> list[Path]:
    """Each path that is a folder, and the folder of each that is a file."""
    return [path if path.is_dir() else path.parent for path in paths]


def folder_of(path: Path) -> Path:
    """The folder of a checkpoint: itself, or that of its file, or the adapter's where one lies below."""
    adapter = find_adapter(path)
    if adapter is not None:
        return adapter.folder
    return _folders(path)[0]


def causal_model(weights: Checkpoint, *, base: Path, dtype: torch.dtype, purpose: str = "gradients") -> nn.Module:
    """The causal language model of a checkpoint on the CPU, of the class that its configuration names.

    Attention is PyTorch's own (`sdpa`), or the model's plain one where it has no other; what the configuration says
    of it is ignored, as is everything else in it that would fetch or run code.

    Args:
        weights: the checkpoint.
        base: the run's base, whose configuration stands in where the checkpoint has none.
        dtype: of the weights in memory.
        purpose: what needs the model, in the plural, for errors.

    Raises:
        CheckpointError: no configuration, one that asks for code of its own, or weights that do not fit it.
        SettingsError: transformers is not installed.
    """
    with _installed("transformers", purpose):
        from transformers import CONFIG_MAPPING, AutoModelForCausalLM
    file = _configuration_file(weights.path, base)
    settings = _plain_settings(file)
    try:
        config = CONFIG_MAPPING[str(settings["model_type"])].from_dict(settings)
        attention, kind = "sdpa", nn.Module
        with torch.device("meta"):  # for its class alone
            try:
                kind = type(AutoModelForCausalLM.from_config(config, attn_implementation=attention))
            except (ValueError, ImportError):
                attention = "eager"
                kind = type(AutoModelForCausalLM.from_config(config, attn_implementation=attention))
        tensors = {name: weights.read(name) for name in weights.names}
        model, report = kind.from_pretrained(
            None, config=config, state_dict=tensors, dtype=dtype, attn_implementation=attention,
            local_files_only=True, output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, ImportError, TypeError, KeyError, AttributeError) as error:
        message = f"cannot be loaded as a causal language model ({first_line(error)})"
        raise CheckpointError(message, where=weights.path, fix=f"the configuration is {file}") from error
    if report["missing_keys"]:  # transformers would fill them with random numbers
        missing = sorted(report["missing_keys"])
        message = f"{len(missing)} of the model's weights are missing"
        raise CheckpointError(
            message, where=weights.path, tensor=missing[0], fix="save the checkpoint with all of them"
        )
    loaded: nn.Module = model
    return loaded


_NOT_OURS = frozenset(
    {"attn_implementation", "experts_implementation", "use_kernels", "kernel_config", "output_attentions"}
    | {"output_hidden_states", "torchscript"}
)
"""Settings of a configuration that choose code, beside those that begin with an underscore."""


def _configuration_file(*paths: Path) -> Path:
    folder = next((p for p in _folders(*paths) if (p / "config.json").is_file()), None)
    if folder is None:
        message = "neither it nor the base has a config.json, so no model can be built"
        raise CheckpointError(message, where=paths[0], fix="give Hugging Face folders")
    return folder / "config.json"


def _plain_settings(file: Path) -> dict[str, Any]:
    """A model's configuration without what would choose an attention implementation or kernels.

    Raises:
        CheckpointError: it names code that lies with the model, which is never run, or no model type.
    """
    settings = read_json_object(file)
    if _has_key(settings, "auto_map"):
        message = "the configuration asks for code that lies with the model (auto_map), which is not run"
        raise CheckpointError(message, where=file, fix="remove auto_map where transformers has the model type built in")
    if not isinstance(settings.get("model_type"), str):
        raise CheckpointError("names no model_type", where=file, fix="give the model's own config.json")
    plain: dict[str, Any] = _without_choices(settings)
    return plain


def _has_key(value: Any, key: str) -> bool:
    return isinstance(value, Mapping) and (key in value or any(_has_key(part, key) for part in value.values()))


def _without_choices(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    kept = {key: part for key, part in value.items() if key not in _NOT_OURS and not str(key).startswith("_")}
    return {key: _without_choices(part) for key, part in kept.items()}


def _merged(model: nn.Module, adapter: Path) -> nn.Module:
    with _installed("peft"):
        from peft import PeftModel
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft calls transformers by names of older releases
            warnings.filterwarnings("error", message="Found missing adapter keys")
            merged = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, UserWarning) as error:
        message = f"the adapter does not fit the run's base ({first_line(error)})"
        raise CheckpointError(message, where=adapter, fix="give the base that it was trained on") from error
    return merged


@contextmanager
def _installed(package: str, purpose: str = "gradients") -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise
        message = f"{purpose} need {package}, which is not installed"
        raise SettingsError(message, fix="pip install 'geodiag[models]'") from error


@contextmanager
def quiet(purpose: str = "gradients") -> Iterator[None]:
    """Silence progress bars and reports of transformers; what matters in them is raised as an error."""
    with _installed("transformers", purpose):
        from transformers.utils import logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
