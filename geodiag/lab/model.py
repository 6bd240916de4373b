"""Models and tokenizer of the lab: built, loaded for training, and saved."""

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
from geodiag.lab.config import LabConfig, Lora, ModelShape
from geodiag.lab.suite import seed_of
from geodiag.models.loading import load_model

PAD_TOKEN, UNKNOWN_TOKEN = "<pad>", "<unk>"
ALPHABET = " " + string.ascii_lowercase + string.digits + "=.,:;+-*/<>()[]?!_'\"#&%\n"
"""The characters of every lab tokenizer; those of a suite are added."""


def build_tokenizer(characters: Iterable[str] = ()) -> Any:
    """A `PreTrainedTokenizerFast` with one token a character and nothing added at either end.

    Decoding the ids of a text gives the text back, and the ids of two texts joined are the joined ids.

    Args:
        characters: characters to add to `ALPHABET`.

    Returns:
        The tokenizer; its vocabulary is `<pad>`, `<unk>` and the sorted characters.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = [PAD_TOKEN, UNKNOWN_TOKEN, *sorted(set(ALPHABET) | set(characters))]
    inner = Tokenizer(models.WordLevel({symbol: k for k, symbol in enumerate(symbols)}, unk_token=UNKNOWN_TOKEN))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD_TOKEN,
        unk_token=UNKNOWN_TOKEN,
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


def load_trainable(folder: Path, *, device: torch.device | None = None) -> Model:
    """A causal LM from a local folder, in float32, all of its weights trainable.

    Args:
        folder: a Hugging Face folder.
        device: where the model goes; the CPU by default.

    Raises:
        CheckpointError: no configuration or weights, or weights that do not fit it.
    """
    model = load_model(folder, base=folder, device=device or torch.device("cpu"), precision="float32")
    model.requires_grad_(True)
    trained: Model = model
    trained.config.use_cache = False
    # PEFT writes the base's folder into an adapter's files.
    trained.name_or_path = trained.config.name_or_path = str(folder)
    return trained


def start_model(config: LabConfig, *, base: Path, device: torch.device, role: str) -> Model:
    """The base ready to train: as it is, or wrapped in a fresh adapter drawn for this run's seed and role."""
    model = load_trainable(base, device=device)
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
    with _without_peft_warnings():
        return get_peft_model(model, settings)


def resume_model(config: LabConfig, *, base: Path, state: Path, device: torch.device) -> Model:
    """The model of a saved state, ready to train on."""
    if config.lora is None:
        return load_trainable(state, device=device)
    from peft import PeftModel

    with _without_peft_warnings():
        return PeftModel.from_pretrained(load_trainable(base, device=device), str(state), is_trainable=True)


def save_model(model: Model, folder: Path, *, tokenizer: Any, dtype: str) -> None:
    """Save a model, or its adapter alone, with the tokenizer."""
    from transformers.utils import logging

    logging.disable_progress_bar()
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


@contextmanager
def _without_peft_warnings() -> Iterator[None]:
    """PEFT asks transformers for an attribute by its deprecated name, which a user can do nothing about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield
