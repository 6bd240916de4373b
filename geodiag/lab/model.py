"""Models and tokenizer of the lab: build, load and save."""

from __future__ import annotations

import copy
import string
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from geodiag.common.schema import FAMILIES
from geodiag.errors import SettingsError
from geodiag.lab.config import LabConfig, Lora, ModelShape
from geodiag.lab.reproducible import seed_of

PAD, UNKNOWN = "<pad>", "<unk>"
ALPHABET = " " + string.ascii_lowercase + string.digits + "=.,:;+-*/<>()[]?!_'\"#&%\n"
"""The characters that every lab tokenizer knows; a suite's own characters come on top."""


def build_tokenizer(characters: Iterable[str] = ()) -> Any:
    """A `PreTrainedTokenizerFast` with one token a character and nothing added at either end.

    Decoding the ids of a text gives the text back, and the ids of two texts joined are the joined ids.

    Args:
        characters: characters to know beside `ALPHABET`.

    Returns:
        The tokenizer; its vocabulary is `<pad>`, `<unk>` and the sorted characters.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = [PAD, UNKNOWN, *sorted(set(ALPHABET) | set(characters))]
    inner = Tokenizer(models.WordLevel({symbol: k for k, symbol in enumerate(symbols)}, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


Model = Any
"""A transformers causal LM, or a PEFT model around one."""


def build_model(architecture: ModelShape, *, tokenizer: Any, seed: int) -> Model:
    """A randomly initialised `Qwen3ForCausalLM` in float32, the embedding tied to the output layer."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=architecture.width,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.kv_heads,
        head_dim=architecture.width // architecture.heads,
        intermediate_size=architecture.ffn,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    return Qwen3ForCausalLM(config)


def load_lab_tokenizer(folder: Path) -> Any:
    """The tokenizer saved in a checkpoint folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def load_lab_model(folder: Path, *, device: str = "cpu") -> Model:
    """A causal LM from a local folder, in float32."""
    from transformers import AutoModelForCausalLM

    _quiet()
    if not (folder / "config.json").is_file():
        raise SettingsError("not a Hugging Face folder", where=folder, fix="a local folder with config.json")
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    model.config.use_cache = False
    return model.to(device)


def start_model(config: LabConfig, *, base: Path, device: str, role: str) -> Model:
    """The base ready to train: as it is, or wrapped in a fresh adapter drawn for this run's seed and role."""
    model = load_lab_model(base, device=device)
    if config.lora is None:
        return model
    torch.manual_seed(seed_of("adapter", config.seed, role))
    return add_adapter(model, config.lora)


def add_adapter(model: Model, lora: Lora) -> Model:
    """A model wrapped in a trainable LoRA adapter on every projection of the target families."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules=list(FAMILIES), task_type="CAUSAL_LM"
    )
    with _peft_warnings_aside():
        return get_peft_model(model, settings)


def resume_model(config: LabConfig, *, base: Path, state: Path, device: str) -> Model:
    """The model of a saved state, ready to train on."""
    if config.lora is None:
        return load_lab_model(state, device=device)
    from peft import PeftModel

    with _peft_warnings_aside():
        return PeftModel.from_pretrained(load_lab_model(base, device=device), str(state), is_trainable=True)


def save_model(model: Model, folder: Path, *, tokenizer: Any, dtype: str) -> None:
    """Save a model, or its adapter alone, with the tokenizer; nothing of a half-written folder is visible."""
    _quiet()
    stored = model if dtype == "float32" else copy.deepcopy(model).to(getattr(torch, dtype))
    stored.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def settle(model: Model, *, dtype: str) -> None:
    """Round the weights to the stored dtype, so that training goes on from what was saved."""
    if dtype == "float32":
        return
    for parameter in model.parameters():
        parameter.copy_(parameter.to(getattr(torch, dtype)))


def trainable(model: Model) -> list[torch.nn.Parameter]:
    """The parameters that training moves, each once, in a fixed order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def norm_of(tensors: Sequence[torch.Tensor]) -> float:
    """The L2 norm of all the tensors' entries together."""
    return float(torch.linalg.vector_norm(torch.stack([tensor.norm() for tensor in tensors])))


def lab_device(wanted: str) -> str:
    """`cuda` when it is asked for, or when `auto` finds one; else `cpu`."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingsError("there is no CUDA device", where="device", fix="auto or cpu")
    return wanted


@contextmanager
def _peft_warnings_aside() -> Iterator[None]:
    """PEFT asks transformers for an attribute by its deprecated name, which a user can do nothing about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def _quiet() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
