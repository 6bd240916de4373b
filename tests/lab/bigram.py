"""A language model that a person can differentiate: the next token's logits are one row of a table."""

from types import SimpleNamespace

import torch
from torch.nn import functional as F

from geodiag.lab.data import IGNORED


class Bigram(torch.nn.Module):
    """logits(next | previous) = table[previous]; d log p(y | x) / d table[x] = onehot(y) - softmax(table[x])."""

    def __init__(self, table):
        super().__init__()
        self.table = torch.nn.Parameter(torch.as_tensor(table, dtype=torch.float32))
        self.device = torch.device("cpu")

    def forward(self, input_ids, labels=None):
        logits = self.table[input_ids]
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        return SimpleNamespace(loss=loss, logits=logits)
