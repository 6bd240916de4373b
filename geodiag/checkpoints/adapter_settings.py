"""What an adapter_config.json says of a LoRA update, and the kinds of adapter that are not read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geodiag.checkpoints import refused
from geodiag.errors import CheckpointError


@dataclass(frozen=True)
class AdapterSettings:
    """How the factors of a LoRA adapter make up its update, D = s B A."""

    r: int
    """The rank where no pattern says otherwise."""
    alpha: float
    """The numerator of the scale where no pattern says otherwise."""
    rslora: bool
    """Whether the scale is alpha / sqrt(r) (rank-stabilised) rather than alpha / r."""
    rank_pattern: Mapping[str, int]
    """Ranks of modules by the ends of their names, regular expressions; the first that fits counts."""
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
    """The settings of a LoRA adapter.

    Args:
        config: its adapter_config.json.
        where: that file, for errors.

    Raises:
        CheckpointError: the adapter is of a kind that is not read, or a value is wrong.
    """
    for refusal in REFUSALS:
        if found := refusal.found(config):
            fix = refusal.fix or refused.merge_command(where.parent)
            raise CheckpointError(f"{found}: {refusal.why}", where=where, fix=fix)
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

    found: Callable[[Mapping[str, Any]], str]
    """What of it the configuration shows; empty when the adapter is of another kind."""
    why: str
    """Why it is not read."""
    fix: str = ""
    """What would be right; by default the command that merges it into its base."""


def _kind(config: Mapping[str, Any]) -> str:
    kind = config.get("peft_type")
    return "" if str(kind).upper() == "LORA" else f"peft_type is {kind}"


def _started_with(*inits: str) -> Callable[[Mapping[str, Any]], str]:
    def found(config: Mapping[str, Any]) -> str:
        init = config.get("init_lora_weights")
        fits = isinstance(init, str) and init.lower().startswith(inits)
        return f"init_lora_weights is {init}" if fits else ""

    return found


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
"""What is refused, in the order in which it is looked for."""


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
            what = f"{key!r} holds {module!r}, no regular expression ({error})"
            raise CheckpointError(what, where=where, fix="name the end of a module") from error
    return dict(pattern)


def _check_number(value: Any, key: str, where: Path, *, whole: bool) -> None:
    right = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, right) or not 0 < value < 2**31:
        what = f"{key!r} is {value!r}" if value is not None else f"{key!r} is missing"
        fix = f"it is a {'whole ' if whole else ''}number above 0"
        raise CheckpointError(what, where=where, fix=fix)
