"""Checkpoint forms that are not supported, with the command that converts each."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from geodiag.errors import CheckpointError

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of files that run code when they are loaded."""

_MODEL_TO_SAFETENSORS = (
    'from transformers import AutoModelForCausalLM as M; M.from_pretrained({old}, dtype="auto").save_pretrained({new})'
)
_FILE_TO_SAFETENSORS = (
    "import torch; from safetensors.torch import save_file; "
    'w = torch.load({old}, map_location="cpu", weights_only=True); '
    "save_file({{k: v.contiguous().clone() for k, v in w.items()}}, {new})"
)
_MERGE_ADAPTER = (
    "from peft import AutoPeftModelForCausalLM as M; "
    'M.from_pretrained({old}, dtype="auto").merge_and_unload().save_pretrained({new})'
)


def pickled_folder(path: Path) -> CheckpointError:
    """A folder whose weights are pickles."""
    fix = _command(_MODEL_TO_SAFETENSORS, path, path.with_name(path.name + "-safetensors"))
    return CheckpointError("the weights are pickles, which run code when loaded", where=path, fix=fix)


def pickled_file(path: Path) -> CheckpointError:
    """A single pickled state dict."""
    fix = _command(_FILE_TO_SAFETENSORS, path, path.with_suffix(".safetensors"))
    return CheckpointError("a pickle, which runs code when loaded", where=path, fix=fix)


def adapter(path: Path) -> CheckpointError:
    """A LoRA adapter where whole weights are asked for, as in the base of a run."""
    return CheckpointError("a LoRA adapter, not a checkpoint with whole weights", where=path, fix=merge_command(path))


def merge_command(path: Path) -> str:
    """The command that merges an adapter into its base."""
    return _command(_MERGE_ADAPTER, path, path.with_name(path.name + "-merged"), verb="merge")


def gguf(path: Path) -> CheckpointError:
    """A GGUF file, whose weights are quantised or renamed for llama.cpp."""
    what = "a GGUF file, whose weights are packed for llama.cpp"
    return CheckpointError(what, where=path, fix="bring the Hugging Face checkpoint that it was made from")


def training_state(path: Path, found: str) -> CheckpointError:
    """The sharded state of a trainer (FSDP, DeepSpeed, distributed checkpoint)."""
    what = f"the sharded state of a trainer ({found}), not a model"
    fix = "save the model itself: `accelerate merge-weights` (FSDP), `zero_to_fp32.py --safe_serialization` (DeepSpeed)"
    return CheckpointError(what, where=path, fix=fix)


def _command(code: str, old: Path, new: Path, *, verb: str = "convert") -> str:
    names = {key: json.dumps(str(path), ensure_ascii=False) for key, path in (("old", old), ("new", new))}
    return f"{verb} it first: python -c {shlex.quote(code.format(**names))}"
