"""Names and layouts of the target layers of each architecture: one table an architecture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from geodiag.checkpoints.layers import (
    Sharing,
    alternating,
    bigcode_attention,
    chatglm_attention,
    codegen_attention,
    falcon_attention,
    group_by_group,
    head_by_head,
    queries_keys_values,
    stretches,
)

PREFIXES = (
    "model.layers.",
    "model.language_model.layers.",
    "language_model.model.layers.",
    "language_model.layers.",
    "model.text_model.layers.",
    "layers.",
)
"""Prefixes of a block's number: of a language model, of one inside a vision-language model (as newer and as older
releases of transformers name it), and of both saved without their head. A checkpoint has one of them."""


@dataclass(frozen=True)
class Module:
    """One stored weight of a block, and the projections in it."""

    families: tuple[str, ...]
    """Families of the projections in it, in the order of its rows."""
    sharing: Sharing | None = None
    """Row ranges of the projections; None for a single one."""
    transposed: bool = False
    """Whether it is stored (d_in, d_out)."""
    stacked: bool = False
    """Whether its first dimension is that of experts."""
    ending: str = ".weight"
    """Suffix of its tensor's name."""


@dataclass(frozen=True)
class Architecture:
    """How an architecture names its projections."""

    modules: Mapping[str, Module]
    """Name inside a block -> the projections there; `{e}` stands for the number of an expert."""
    prefixes: tuple[str, ...] = PREFIXES
    """Possible prefixes of the block's number."""


def _same(place: str, *families: str) -> dict[str, Module]:
    """Projections under the family's own names."""
    return {f"{place}.{family}": Module((family,)) for family in families}


def _named(place: str, names: Mapping[str, str], *, transposed: bool = False) -> dict[str, Module]:
    """Projections under other names than the family's, by family."""
    return {f"{place}{name}": Module((family,), transposed=transposed) for family, name in names.items()}


def _fused(name: str, sharing: Sharing, *, transposed: bool = False) -> dict[str, Module]:
    return {name: Module(_QKV, sharing, transposed=transposed)}


def _stacked(place: str, *, transposed: bool = False) -> dict[str, Module]:
    """All experts of a block in two tensors."""
    return {
        f"{place}.gate_up_proj": Module(_GATE_UP, _halves, transposed=transposed, stacked=True, ending=""),
        f"{place}.down_proj": Module(("down_proj",), transposed=transposed, stacked=True, ending=""),
    }


_QKV, _GATE_UP, _MLP = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("gate_proj", "up_proj", "down_proj")
_halves, _thirds = partial(stretches, n=2), partial(stretches, n=3)
_GATE_AND_UP = Module(_GATE_UP, _halves)

_ATTENTION = _same("self_attn", *_QKV, "o_proj")
_EXPERTS = {
    **_same("mlp.experts.{e}", *_MLP),
    **_same("mlp.shared_expert", *_MLP),
    **_same("mlp.shared_experts", *_MLP),
    # The same experts as newer releases of transformers hold them, and save them where they are asked to.
    **_stacked("mlp.experts"),
}
_W123 = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
_GPT_BLOCKS = ("transformer.h.", "h.")

PLAIN = Architecture(_ATTENTION | _same("mlp", *_MLP))
"""Seven separate matrices a block, each stored (d_out, d_in)."""

MIXTURE_OF_EXPERTS = Architecture(_ATTENTION | _same("mlp", *_MLP) | _EXPERTS)
"""The same with experts in some or all blocks, and perhaps experts that every token passes."""

_MIXTRAL = Architecture(_ATTENTION | _named("block_sparse_moe.experts.{e}.", _W123) | _stacked("mlp.experts"))
_PHI3 = Architecture(
    _fused("self_attn.qkv_proj", queries_keys_values)
    | _same("self_attn", "o_proj")
    | {"mlp.gate_up_proj": _GATE_AND_UP}
    | _same("mlp", "down_proj")
)
_GLM = Architecture(_ATTENTION | {"mlp.gate_up_proj": _GATE_AND_UP} | _same("mlp", "down_proj"))
_NEOX_MLP = _named("mlp.", {"up_proj": "dense_h_to_4h", "down_proj": "dense_4h_to_h"})
_GPT_NEOX = Architecture(
    _fused("attention.query_key_value", head_by_head) | _named("attention.", {"o_proj": "dense"}) | _NEOX_MLP,
    ("gpt_neox.layers.", "layers."),
)
_FALCON = Architecture(
    _fused("self_attention.query_key_value", falcon_attention)
    | _named("self_attention.", {"o_proj": "dense"})
    | _NEOX_MLP,
    _GPT_BLOCKS,
)
_BLOOM = Architecture(
    _fused("self_attention.query_key_value", head_by_head) | _named("self_attention.", {"o_proj": "dense"}) | _NEOX_MLP,
    _GPT_BLOCKS,
)
_PERSIMMON = Architecture(
    _fused("self_attn.query_key_value", head_by_head) | _named("self_attn.", {"o_proj": "dense"}) | _NEOX_MLP
)
_GPT2 = Architecture(
    _fused("attn.c_attn", _thirds, transposed=True)
    | _named("attn.", {"o_proj": "c_proj"}, transposed=True)
    | _named("mlp.", {"up_proj": "c_fc", "down_proj": "c_proj"}, transposed=True),
    _GPT_BLOCKS,
)
_BIGCODE = Architecture(
    _fused("attn.c_attn", bigcode_attention)
    | _named("attn.", {"o_proj": "c_proj"})
    | _named("mlp.", {"up_proj": "c_fc", "down_proj": "c_proj"}),
    _GPT_BLOCKS,
)
_GPT_NEO = Architecture(
    _same("attn.attention", *_QKV)
    | _named("attn.attention.", {"o_proj": "out_proj"})
    | _named("mlp.", {"up_proj": "c_fc", "down_proj": "c_proj"}),
    _GPT_BLOCKS,
)
_GPTJ_REST = _named("attn.", {"o_proj": "out_proj"}) | _named("mlp.", {"up_proj": "fc_in", "down_proj": "fc_out"})
_GPTJ = Architecture(_same("attn", *_QKV) | _GPTJ_REST, _GPT_BLOCKS)
_CODEGEN = Architecture(_fused("attn.qkv_proj", codegen_attention) | _GPTJ_REST, _GPT_BLOCKS)
_MPT = Architecture(
    _fused("attn.Wqkv", _thirds) | _named("attn.", {"o_proj": "out_proj"}) | _same("ffn", "up_proj", "down_proj"),
    ("transformer.blocks.", "blocks."),
)
_FC12 = {"up_proj": "fc1", "down_proj": "fc2"}
_PHI = Architecture(_same("self_attn", *_QKV) | _named("self_attn.", {"o_proj": "dense"}) | _named("mlp.", _FC12))
_OPT = Architecture(
    _same("self_attn", *_QKV) | _named("self_attn.", {"o_proj": "out_proj"}) | _named("", _FC12),
    ("model.decoder.layers.", "decoder.layers."),
)
_STARCODER2 = Architecture(_ATTENTION | _named("mlp.", {"up_proj": "c_fc", "down_proj": "c_proj"}))
_LFM2 = Architecture(
    _same("self_attn", *_QKV)
    | _named("self_attn.", {"o_proj": "out_proj"})
    | _named("feed_forward.", _W123)
    | _named("feed_forward.experts.{e}.", _W123)
)
_LLAMA4 = Architecture(
    _ATTENTION
    | _same("feed_forward", *_MLP)
    | _same("feed_forward.shared_expert", *_MLP)
    | _stacked("feed_forward.experts", transposed=True)
)
_QWEN3_VL_MOE = Architecture(_ATTENTION | _same("mlp", *_MLP) | _EXPERTS | _stacked("mlp.experts", transposed=True))
_GPT_OSS = Architecture(
    _ATTENTION
    | {
        "mlp.experts.gate_up_proj": Module(_GATE_UP, alternating, transposed=True, stacked=True, ending=""),
        "mlp.experts.down_proj": Module(("down_proj",), transposed=True, stacked=True, ending=""),
    }
)
_GRANITE_MOE = Architecture(
    _ATTENTION
    | {
        "block_sparse_moe.input_linear": Module(_GATE_UP, _halves, stacked=True),
        "block_sparse_moe.output_linear": Module(("down_proj",), stacked=True),
        "shared_mlp.input_linear": _GATE_AND_UP,
        "shared_mlp.output_linear": Module(("down_proj",)),
    }
)
_INTERNLM2 = Architecture(
    _fused("attention.wqkv", group_by_group) | _named("attention.", {"o_proj": "wo"}) | _named("feed_forward.", _W123)
)
_BAICHUAN = Architecture(_fused("self_attn.W_pack", _thirds) | _same("self_attn", "o_proj") | _same("mlp", *_MLP))
_QWEN = Architecture(
    _fused("attn.c_attn", _thirds)
    | _named("attn.", {"o_proj": "c_proj"})
    | _named("mlp.", {"gate_proj": "w2", "up_proj": "w1", "down_proj": "c_proj"}),
    _GPT_BLOCKS,
)
_CHATGLM = Architecture(
    _fused("self_attention.query_key_value", chatglm_attention)
    | _named("self_attention.", {"o_proj": "dense"})
    | {"mlp.dense_h_to_4h": _GATE_AND_UP}
    | _named("mlp.", {"down_proj": "dense_4h_to_h"}),
    ("transformer.encoder.layers.",),
)

_PLAIN_TYPES = (
    *("cohere", "cohere2", "exaone4", "gemma", "gemma2", "gemma3", "gemma3_text", "granite", "llama", "mistral"),
    *("mistral3", "nemotron", "olmo", "olmo2", "olmo3", "qwen2", "qwen3", "seed_oss", "smollm3", "stablelm"),
)
_EXPERT_TYPES = (
    *("deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe", "glm4_moe", "olmoe", "qwen2_moe", "qwen3_moe"),
    "qwen3_next",
)

ARCHITECTURES: Mapping[str, Architecture] = {
    **dict.fromkeys(_PLAIN_TYPES, PLAIN),
    **dict.fromkeys(_EXPERT_TYPES, MIXTURE_OF_EXPERTS),
    **dict.fromkeys(("minimax", "mixtral", "phimoe"), _MIXTRAL),
    **dict.fromkeys(("glm", "glm4"), _GLM),
    **dict.fromkeys(("granitemoe", "granitemoeshared"), _GRANITE_MOE),
    **dict.fromkeys(("lfm2", "lfm2_moe"), _LFM2),
    **dict.fromkeys(("llama4", "llama4_text"), _LLAMA4),
    **dict.fromkeys(("qwen3_vl_moe", "qwen3_vl_moe_text"), _QWEN3_VL_MOE),
    "baichuan": _BAICHUAN,
    "bloom": _BLOOM,
    "chatglm": _CHATGLM,
    "codegen": _CODEGEN,
    "falcon": _FALCON,
    "gpt2": _GPT2,
    "gpt_bigcode": _BIGCODE,
    "gpt_neo": _GPT_NEO,
    "gpt_neox": _GPT_NEOX,
    "gpt_oss": _GPT_OSS,
    "gptj": _GPTJ,
    "internlm2": _INTERNLM2,
    "mpt": _MPT,
    "opt": _OPT,
    "persimmon": _PERSIMMON,
    "phi": _PHI,
    "phi3": _PHI3,
    "qwen": _QWEN,
    "starcoder2": _STARCODER2,
}
"""By `model_type` of config.json."""

FALLBACK = re.compile(
    r"(?P<stem>(?:[\w-]+\.)*?layers\.(?P<block>[0-9]{1,6})\.(?:self_attn|self_attention|attention|attn|mlp|feed_forward)"
    r"(?:\.experts\.(?P<expert>[0-9]{1,6})|\.shared_experts?)?)\.(?P<family>[qkvo]_proj|(?:gate|up|down)_proj)\.weight"
)
"""The plain names at any depth, for model types without a table."""

TOWERS = re.compile(r"(?:^|\.)(?:visual|vision\w*|image_\w+|vit|multi_modal_projector|audio\w*|speech\w*)\.")
"""Parts of a model that see or hear; their blocks are no part of the language model."""

LEFT_OUT: Mapping[str, re.Pattern[str]] = {
    "vision": TOWERS,
    "router": re.compile(
        r"\.(?:mlp|feed_forward|block_sparse_moe)\.(?:gate|router)\.|\.(?:router|shared_expert_gate)\."
    ),
    "bias": re.compile(r"bias$"),
    "norm": re.compile(r"(?:norm_?(?:\d+|f)?|\.ln_\w+)\.weight$", re.IGNORECASE),
    "embedding": re.compile(r"(?:^|\.)(?:embed\w*|wte|wpe|word_embeddings)\.weight$"),
    "head": re.compile(r"(?:^|\.)(?:lm_head|score|classifier|embed_out)\.weight$"),
    "buffer": re.compile(r"(?:inv_freq|position_ids)$"),
    "fused": re.compile(r"\.(?:w?qkv(?:_proj)?|query_key_value|W_pack|c_attn|gate_up_proj|w13)(?:\.weight)?$", re.I),
    "expert": re.compile(r"\.experts?\."),
}
"""Why a tensor is not compared, by its name; the first that matches says why, and the rest are "unknown"."""
