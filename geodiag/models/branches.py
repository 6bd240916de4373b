"""Side branches of a running model: what a module adds to its output, from factors or from a change of its weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from geodiag.models.groups import WeightSlot


@dataclass(frozen=True)
class FactoredBranch:
    """Adds left @ right @ x to a linear module's output, computed in float32."""

    left: Tensor
    """(d_out, r), float32: the module's whole output width."""
    right: Tensor
    """(r, d_in), float32."""

    def product(self, inputs: Tensor) -> Tensor:
        """The addition in float32 for inputs (..., d_in)."""
        wide = inputs.to(self.right.dtype)
        return (wide @ self.right.T) @ self.left.T

    def rows_scaled(self, mask: Tensor, factor: float) -> FactoredBranch:
        """With the rows of the output in which `mask` (d_out, 1) is 1 multiplied by a factor."""
        return replace(self, left=torch.where(mask != 0, self.left * factor, self.left))


@dataclass(frozen=True)
class DenseBranch:
    """Adds Delta x, or Delta's rows for tokens, to a module's output; Delta in float32."""

    change: Tensor
    """As the module's own weight or bias is stored in the model, float32."""
    kind: str
    """`linear` (d_out, d_in), `transposed` (d_in, d_out), `lookup` (rows, d) or `bias` (d_out,)."""

    def product(self, inputs: Tensor) -> Tensor:
        """The addition in float32; `inputs` are tokens where it is a lookup."""
        if self.kind == "lookup":
            return self.change[inputs]
        if self.kind == "bias":
            return self.change
        return inputs.float() @ (self.change if self.kind == "transposed" else self.change.T)


class Branches:
    """The side branches of every module, each added by one forward hook."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._modules = modules
        self._branches: dict[str, list[FactoredBranch | DenseBranch]] = {}
        self._hooks: dict[str, Any] = {}
        self._names: dict[int, list[str]] = {}
        for name, module in modules.items():
            for tensor in module._parameters.values():
                if tensor is not None:
                    self._names.setdefault(id(tensor), []).append(name)

    def add(self, module: str, branch: FactoredBranch | DenseBranch) -> None:
        """Adds one to a module's."""
        self._branches.setdefault(module, []).append(branch)
        if module not in self._hooks:
            self._hooks[module] = self._modules[module].register_forward_hook(self._hook(module))

    def add_dense(self, slot: WeightSlot, tensor: Tensor, change: Tensor) -> list[str]:
        """Adds a change of a slot's weight to every module that uses it, such as the embedding and a tied head.

        Returns:
            The modules to which it cannot be added, since they are neither linear ones nor plain embeddings.
        """
        owners = self._names.get(id(tensor), [])
        if slot.part.expert is not None:
            return owners
        whole = change
        if slot.layer is not None:
            whole = torch.zeros_like(tensor, dtype=torch.float32)
            slot.write(whole, change)
        left = []
        for name in owners:
            kind = _kind(self._modules[name], slot.attribute)
            if kind is None:
                left.append(name)
            else:
                self.add(name, DenseBranch(whole, kind))
        return left

    def scale(self, module: str, mask: Tensor, factor: float) -> None:
        """Scales rows of a module's factored branches."""
        self._branches[module] = [
            branch.rows_scaled(mask, factor) if isinstance(branch, FactoredBranch) else branch
            for branch in self._branches[module]
        ]

    def state(self) -> dict[str, list[FactoredBranch | DenseBranch]]:
        """What there is now, to be restored."""
        return {module: list(branches) for module, branches in self._branches.items()}

    def restore(self, state: Mapping[str, list[FactoredBranch | DenseBranch]]) -> None:
        """Goes back to what `state` gave; modules without a branch lose their hook."""
        self._branches = {module: list(branches) for module, branches in state.items()}
        for module in [name for name in self._hooks if not self._branches.get(name)]:
            self._hooks.pop(module).remove()

    def clear(self) -> None:
        """Without any."""
        self.restore({})

    def _hook(self, name: str) -> Any:
        def add(_module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            for branch in self._branches[name]:
                output = (output + branch.product(args[0])).to(output.dtype)
            return output

        return add


class WideModule:
    """A module whose weights stand in float32 for a while, because its change cannot be added to its output.

    Its inputs are widened and its outputs narrowed again, so that what is around it computes as before. Norms,
    routers and stacked experts in bfloat16 are edited in this way.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._own = {name: tensor for name, tensor in module._parameters.items() if tensor is not None}
        self._dtype = next(iter(self._own.values())).dtype
        for name, tensor in self._own.items():
            module._parameters[name] = nn.Parameter(tensor.data.float(), requires_grad=False)
        self._hooks = [
            module.register_forward_pre_hook(self._widen, with_kwargs=True),
            module.register_forward_hook(self._narrow),
        ]

    def add(self, slot: WeightSlot, change: Tensor) -> None:
        """Adds a change to one of its weights."""
        tensor = self._module._parameters[slot.attribute]
        assert tensor is not None
        slot.write(tensor.data, slot.view(tensor.data) + change)

    def close(self) -> None:
        """Its own weights again."""
        for hook in self._hooks:
            hook.remove()
        self._module._parameters.update(self._own)

    def _widen(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return tuple(map(self._wide, args)), {name: self._wide(value) for name, value in kwargs.items()}

    def _wide(self, value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.dtype == self._dtype else value

    def _narrow(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        def narrow(value: Any) -> Any:
            return value.to(self._dtype) if isinstance(value, Tensor) and value.dtype == torch.float32 else value

        return tuple(map(narrow, output)) if isinstance(output, tuple) else narrow(output)


def _kind(module: nn.Module, attribute: str) -> str | None:
    """How a change of a module's weight or bias acts on its output; None where that is not an addition."""
    linear, transposed = isinstance(module, nn.Linear), type(module).__name__ == "Conv1D"
    if attribute == "bias":
        return "bias" if linear or transposed or isinstance(module, nn.LayerNorm) else None
    if isinstance(module, nn.Embedding):
        return "lookup" if type(module) is nn.Embedding else None
    return "linear" if linear else "transposed" if transposed else None
