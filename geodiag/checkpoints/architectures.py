"""Where each architecture keeps the weights that are compared: one table an architecture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PREFIXES = (
    "model.layers.",
    "model.language_model.layers.",
    "language_model.model.layers.",
    "language_model.layers.",
    "layers.",
)
"""What stands before a block's number: a language model, one inside a model that also sees (as newer and as
older releases of transformers name it), and both saved without their head. A checkpoint keeps one of them."""


@dataclass(frozen=True)
class Architecture:
    """How an architecture names its projections."""

    modules: Mapping[str, str]
    """Module inside a block -> its family."""
    prefixes: tuple[str, ...] = PREFIXES
    """What may stand before the block's number."""


PLAIN = Architecture(
    {
        "self_attn.q_proj": "q_proj",
        "self_attn.k_proj": "k_proj",
        "self_attn.v_proj": "v_proj",
        "self_attn.o_proj": "o_proj",
        "mlp.gate_proj": "gate_proj",
        "mlp.up_proj": "up_proj",
        "mlp.down_proj": "down_proj",
    }
)
"""Seven separate matrices a block, each stored (d_out, d_in)."""

ARCHITECTURES: Mapping[str, Architecture] = {
    "gemma": PLAIN,
    "gemma2": PLAIN,
    "gemma3": PLAIN,
    "gemma3_text": PLAIN,
    "llama": PLAIN,
    "mistral": PLAIN,
    "mistral3": PLAIN,
    "qwen2": PLAIN,
    "qwen3": PLAIN,
}
"""By `model_type` of config.json."""

FALLBACK = re.compile(
    r"(?P<stem>(?:[\w-]+\.)*?layers\.(?P<block>[0-9]{1,6})\.(?:self_attn|self_attention|attention|attn|mlp|feed_forward)"
    r"\.(?P<family>[qkvo]_proj|(?:gate|up|down)_proj))\.weight"
)
"""The plain names at any depth, for model types without a table."""

TOWERS = re.compile(r"(?:^|\.)(?:visual|vision\w*|image_\w+|vit|multi_modal_projector|audio\w*|speech\w*)\.")
"""Parts of a model that see or hear; their blocks are no part of the language model."""

LEFT_OUT: Mapping[str, re.Pattern[str]] = {
    "vision": TOWERS,
    "expert": re.compile(r"\.(?:experts|shared_experts?)\."),
    "router": re.compile(
        r"\.(?:mlp|feed_forward|block_sparse_moe)\.(?:gate|router)\.|\.(?:router|shared_expert_gate)\."
    ),
    "bias": re.compile(r"bias$"),
    "norm": re.compile(r"(?:norm\d*|norm_f|\.ln_\w+)\.weight$", re.IGNORECASE),
    "embedding": re.compile(r"(?:^|\.)(?:embed\w*|wte|wpe|word_embeddings)\.weight$"),
    "head": re.compile(r"(?:^|\.)(?:lm_head|score|classifier)\.weight$"),
    "buffer": re.compile(r"(?:inv_freq|position_ids)$"),
}
"""Why a tensor is not compared, by its name; the first that matches says why, and the rest are "unknown"."""
