"""The two files of a LoRA adapter: adapter_config.json, and its tensors sorted by kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geodiag.checkpoints import unsupported as refused
from geodiag.checkpoints.checkpoint import Checkpoint
from geodiag.checkpoints.layers import LeftOut
from geodiag.errors import CheckpointError


@dataclass(frozen=True)
class AdapterSettings:
    """Ranks and scales of a LoRA adapter, whose update is D = s B A."""

    r: int
    """The rank where no pattern says otherwise."""
    alpha: float
    """The numerator of the scale where no pattern says otherwise."""
    rslora: bool
    """Whether the scale is alpha / sqrt(r) (rank-stabilised) rather than alpha / r."""
    rank_pattern: Mapping[str, int]
    """Ranks by regular expressions for the end of a module's name; the first match counts."""
    alpha_pattern: Mapping[str, float]
    """The same for alpha."""

    def rank(self, module: str) -> int:
        """The rank of a module's factors."""
        return int(_by_pattern(self.rank_pattern, module, self.r))

    def scale(self, module: str) -> float:
        """s of a module: alpha / r, or alpha / sqrt(r)."""
        r = self.rank(module)
        return _by_pattern(self.alpha_pattern, module, self.alpha) / (r**0.5 if self.rslora else r)


def read_settings(config: Mapping[str, Any], *, where: Path) -> AdapterSettings:
    """Read the settings of a LoRA adapter.

    Args:
        config: its adapter_config.json.
        where: that file, for errors.

    Raises:
        CheckpointError: the adapter is of a kind that is not read, or a value is wrong.
    """
    for refusal in REFUSALS:
        if kind := refusal.kind(config):
            fix = refusal.fix or refused.merge_command(where.parent)
            raise CheckpointError(f"{kind}: {refusal.why}", where=where, fix=fix)
    settings = AdapterSettings(
        r=int(_positive(config, "r", where, whole=True)),
        alpha=_positive(config, "lora_alpha", where),
        rslora=bool(config.get("use_rslora")),
        rank_pattern={key: int(value) for key, value in _pattern(config, "rank_pattern", where, whole=True).items()},
        alpha_pattern=_pattern(config, "alpha_pattern", where),
    )
    return settings


@dataclass(frozen=True)
class Refusal:
    """A kind of adapter whose update is not s B A on the run's base."""

    kind: Callable[[Mapping[str, Any]], str]
    """The setting that shows the kind, as text; empty for an adapter of another kind."""
    why: str
    """Why it is not read."""
    fix: str = ""
    """The remedy; by default the command that merges the adapter into its base."""


def _kind(config: Mapping[str, Any]) -> str:
    kind = config.get("peft_type")
    return "" if str(kind).upper() == "LORA" else f"peft_type is {kind}"


def _started_with(*inits: str) -> Callable[[Mapping[str, Any]], str]:
    def kind(config: Mapping[str, Any]) -> str:
        init = config.get("init_lora_weights")
        fits = isinstance(init, str) and init.lower().startswith(inits)
        return f"init_lora_weights is {init}" if fits else ""

    return kind


def _set(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda config: f"{key} is set" if config.get(key) else ""


_PLAIN_LORA = "train a plain LoRA adapter, or bring whole checkpoints"
_CONVERT = (
    "save it as a plain LoRA adapter: `save_pretrained(folder, path_initial_model_for_weight_conversion=<folder of the "
    "untrained adapter>)`"
)

REFUSALS: tuple[Refusal, ...] = (
    Refusal(_kind, "only LoRA adapters are sums of a base and a product of two factors"),
    Refusal(_set("use_dora"), "DoRA rescales the sum of base and product, so its update is of full rank"),
    Refusal(_set("lora_bias"), "the bias beside the factors is no part of the weight"),
    Refusal(
        _started_with("pissa", "olora", "corda", "lora_ga"),
        "that start changed the base, so the product is not the change since the run's base",
        _CONVERT,
    ),
    Refusal(
        _started_with("loftq"),
        "LoftQ trains on a base of its own, so the product is not the change since the run's base",
        "merge it into the base that LoftQ wrote, and bring the whole checkpoint",
    ),
    Refusal(_set("target_parameters"), "factors of stacked experts are packed in an order of their own"),
    Refusal(_set("layer_replication"), "the adapter's blocks are copies that the base does not have"),
    Refusal(_set("alora_invocation_tokens"), "the update acts on some tokens only", _PLAIN_LORA),
    Refusal(_set("arrow_config"), "the update is mixed anew for each token", _PLAIN_LORA),
    Refusal(_set("use_qalora"), "the update acts on pooled inputs", _PLAIN_LORA),
    Refusal(_set("use_bdlora"), "its factors are block-diagonal and packed in an order of their own"),
    Refusal(_set("kasa_config"), "KaSA truncates the base, so the product is not the change since the run's base"),
    Refusal(_set("monteclora_config"), "its factors are sampled"),
)
"""Every kind that is refused; the first match gives the error."""


def _by_pattern(pattern: Mapping[str, float], module: str, default: float) -> float:
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _positive(config: Mapping[str, Any], key: str, where: Path, *, whole: bool = False) -> float:
    value = config.get(key)
    _check_number(value, key, where, whole=whole)
    assert isinstance(value, int | float)
    return value


def _pattern(config: Mapping[str, Any], key: str, where: Path, *, whole: bool = False) -> dict[str, float]:
    pattern = config.get(key) or {}
    if not isinstance(pattern, Mapping):
        raise CheckpointError(f"{key!r} is no object", where=where, fix='write {"q_proj": 16}')
    for module, value in pattern.items():
        _check_number(value, f"{key}.{module}", where, whole=whole)
        try:
            re.compile(module)
        except re.error as error:
            message = f"{key!r} holds {module!r}, no regular expression ({error})"
            raise CheckpointError(message, where=where, fix="name the end of a module") from error
    return dict(pattern)


def _check_number(value: Any, key: str, where: Path, *, whole: bool) -> None:
    right = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, right) or not 0 < value < 2**31:
        message = f"{key!r} is {value!r}" if value is not None else f"{key!r} is missing"
        fix = f"it is a {'whole ' if whole else ''}number above 0"
        raise CheckpointError(message, where=where, fix=fix)


_PREFIX = re.compile(r"(?:base_model\.model\.)?(?P<rest>.+)")
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(?:\.(?P<adapter>[^.]+))?\.weight")
_SAVED = re.compile(r"(?P<module>.+)\.modules_to_save(?:\.(?P<adapter>[^.]+))?\.(?P<kind>weight|bias)")
_EMBEDDED = re.compile(r".+\.(?:lora_embedding_[AB](?:\.[^.]+)?|token_adapter\..+|trainable_tokens_\w+(?:\.[^.]+)?)")
_OF_BASE = re.compile(r".+\.(?:original_module|base_layer)\..+")

_UNREAD = (
    (re.compile(r".+\.lora_magnitude_vector\b.*"), "DoRA rescales the sum of base and product", "use_dora"),
    (re.compile(r".+\.lora_B(?:\.[^.]+)?\.bias"), "the bias beside the factors is no part of the weight", "lora_bias"),
    (re.compile(r".+\.experts(?:\.base_layer)?\.lora_[AB]\..+"), "factors of stacked experts are packed in an order of "
     "their own", "target_parameters"),
)  # fmt: skip
"""Tensors of kinds that are refused, for adapters whose configuration does not say what they are."""


@dataclass(frozen=True)
class AdapterTensors:
    """The tensors of an adapter, sorted by kind. Modules are named by their path in the model."""

    factors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Module -> "A" and "B" -> the name of that factor."""
    whole: Mapping[str, str] = field(default_factory=dict)
    """Name of a weight in the model -> the tensor that replaces it (`modules_to_save`)."""
    left_out: tuple[LeftOut, ...] = ()
    """Tensors that change no target layer."""


def sort_tensors(weights: Checkpoint) -> AdapterTensors:
    """Sort the tensors of an adapter by their names.

    Args:
        weights: the adapter's file.

    Raises:
        CheckpointError: factors without their partner, several adapters in one file, or a tensor of a kind that
            is not read.
    """
    factors: dict[str, dict[str, str]] = {}
    whole: dict[str, str] = {}
    left_out: list[LeftOut] = []
    adapters: set[str] = set()
    for name in weights.names:
        _check_kind(name, weights)
        rest = _PREFIX.fullmatch(name)["rest"]  # type: ignore[index]  # it fits any name
        factor, saved = _FACTOR.fullmatch(rest), _SAVED.fullmatch(rest)
        match = factor or saved
        adapters |= {match["adapter"]} if match and match["adapter"] else set()
        why = _why_left_out(rest)
        if factor:
            _add_factor(factors, factor["module"], factor["side"], name, weights)
        elif why:
            left_out.append(LeftOut(name, weights.info(name).shape, why))
        else:
            whole[f"{saved['module']}.{saved['kind']}" if saved else rest] = name
    _check_adapters(adapters, weights)
    _check_pairs(factors, weights)
    return AdapterTensors(factors, whole, tuple(left_out))


def _why_left_out(rest: str) -> str:
    if rest.endswith("bias"):
        return "bias"
    if _EMBEDDED.fullmatch(rest):
        return "embedding"
    return "base" if _OF_BASE.fullmatch(rest) and not _FACTOR.fullmatch(rest) else ""


def _check_kind(name: str, weights: Checkpoint) -> None:
    for pattern, why, key in _UNREAD:
        if pattern.fullmatch(name):
            raise CheckpointError(f"{why} ({key})", where=weights.path, tensor=name, fix="merge it into its base first")
    if ".lora_" in name and not (_FACTOR.fullmatch(name) or _EMBEDDED.fullmatch(name)):
        message = "no factor of a LoRA adapter that is known"
        raise CheckpointError(message, where=weights.path, tensor=name, fix="merge it into its base first")


def _add_factor(factors: dict[str, dict[str, str]], module: str, side: str, name: str, weights: Checkpoint) -> None:
    of_module = factors.setdefault(module, {})
    if side in of_module:
        message = f"the same factor as tensor {of_module[side]}"
        raise CheckpointError(message, where=weights.path, tensor=name, fix="keep one adapter a file")
    of_module[side] = name


def _check_adapters(adapters: set[str], weights: Checkpoint) -> None:
    if len(adapters) > 1:
        message = f"holds {len(adapters)} adapters: {', '.join(sorted(adapters))}"
        raise CheckpointError(message, where=weights.path, fix="save each in a folder of its own")


def _check_pairs(factors: Mapping[str, Mapping[str, str]], weights: Checkpoint) -> None:
    for of_module in factors.values():
        if len(of_module) < 2:
            ((side, name),) = of_module.items()
            message = f"there is no factor {'B' if side == 'A' else 'A'} to it"
            raise CheckpointError(message, where=weights.path, tensor=name, fix="save the adapter again")
