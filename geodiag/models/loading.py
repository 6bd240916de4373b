"""Models and tokenizers of a run from local files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geodiag.checkpoints import Checkpoint, open_checkpoint, open_model
from geodiag.common.adapters import find_adapter
from geodiag.common.text import first_line
from geodiag.errors import CheckpointError, SettingsError

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


def load_model(state: Path, *, base: Path, device: torch.device, precision: str) -> nn.Module:
    """The causal language model of a state, in evaluation mode and with no weight asking for a gradient.

    Weights are read as `open_checkpoint` reads them, so pickles are refused; no code in the folder runs.

    Args:
        state: a checkpoint or a PEFT adapter, as `open_model` takes them; an adapter is merged into the base in
            float32.
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
    with _quiet():
        if weights.kind == "adapter":
            model = _merged(_causal_model(base_weights, base=base, dtype=torch.float32), weights.path)
        else:
            model = _causal_model(weights, base=base, dtype=dtype)
    model.eval().requires_grad_(False)
    return model.to(device=device, dtype=dtype)


def load_tokenizer(state: Path, *, base: Path) -> Any:
    """The tokenizer in the folder of a state, or else of the base.

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
    with _quiet(), _installed("transformers"):
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"the tokenizer cannot be read ({first_line(error)})", where=folder) from error


def _folders(*paths: Path) -> list[Path]:
    """Each path that is a folder, and the folder of each that is a file."""
    return [path if path.is_dir() else path.parent for path in paths]


def _causal_model(weights: Checkpoint, *, base: Path, dtype: torch.dtype) -> nn.Module:
    with _installed("transformers"):
        from transformers import AutoConfig, AutoModelForCausalLM
    folder = next((p for p in _folders(weights.path, base) if (p / "config.json").is_file()), None)
    if folder is None:
        message = "neither it nor the base has a config.json, so no model can be built"
        raise CheckpointError(message, where=weights.path, fix="give Hugging Face folders")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):  # for its class alone
            kind = type(AutoModelForCausalLM.from_config(config))
        tensors = {name: weights.read(name) for name in weights.names}
        model, report = kind.from_pretrained(
            None, config=config, state_dict=tensors, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, ImportError, TypeError) as error:
        message = f"cannot be loaded as a causal language model ({first_line(error)})"
        raise CheckpointError(
            message, where=weights.path, fix=f"the configuration is {folder / 'config.json'}"
        ) from error
    if report["missing_keys"]:  # transformers would fill them with random numbers
        missing = sorted(report["missing_keys"])
        message = f"{len(missing)} of the model's weights are missing"
        raise CheckpointError(
            message, where=weights.path, tensor=missing[0], fix="save the checkpoint with all of them"
        )
    return model


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
def _installed(package: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise
        message = f"gradients need {package}, which is not installed"
        raise SettingsError(message, fix="pip install 'geodiag[models]'") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence progress bars and reports of transformers; what matters in them is raised as an error."""
    with _installed("transformers"):
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
