"""Weights on disk: lazy tensors, and which of them are the layers that are compared."""

from typing import TYPE_CHECKING

from geodiag.checkpoints.adapter import Adapter
from geodiag.checkpoints.checkpoint import Checkpoint
from geodiag.checkpoints.fingerprint import fingerprint
from geodiag.checkpoints.layer_matching import match_layers
from geodiag.checkpoints.layers import Layer, LayerTable, LeftOut, MatrixPart
from geodiag.checkpoints.model_weights import Factors, ModelWeights, check_same_layers
from geodiag.checkpoints.open_checkpoint import check_reading, open_checkpoint, open_model
from geodiag.checkpoints.safetensors_file import Reading, TensorInfo
from geodiag.common.deprecated import moved_names
from geodiag.common.schema import FAMILIES

__all__ = [
    "FAMILIES",
    "Adapter",
    "Checkpoint",
    "Factors",
    "Layer",
    "LayerTable",
    "LeftOut",
    "MatrixPart",
    "ModelWeights",
    "Reading",
    "TensorInfo",
    "check_reading",
    "check_same_layers",
    "fingerprint",
    "match_layers",
    "open_checkpoint",
    "open_model",
]


if not TYPE_CHECKING:
    __getattr__ = moved_names(
        __name__,
        {
            "Part": "geodiag.checkpoints.layers:MatrixPart",
            "read_layer": "geodiag.checkpoints.checkpoint:Checkpoint.read_layer",
        },
    )
