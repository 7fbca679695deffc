"""PyTorch Geometric: networks of graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from libraries import Lazy, Models, Row, row, x

pyg = Lazy("torch_geometric.nn")
EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2, 1, 4], [1, 2, 3, 4, 5, 0, 3, 5, 0, 1]])
BATCH = torch.tensor([0, 0, 0, 1, 1, 1])


def basic(kind: str, **options: Any) -> Row:
    """A network of several layers of one kind."""
    return row(getattr(pyg, kind)(5, 12, 2, 4, **options), x(6, 5), EDGES)


class Two(nn.Module):
    """Two layers of a kind that has no network of its own."""

    def __init__(self, make: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.one, self.two = make(5, 12), make(12, 4)

    def forward(self, features: torch.Tensor, *graph: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(features, *graph).relu(), *graph)


def two(kind: str, *extra: Any, **options: Any) -> Row:
    """The same layer twice."""
    return row(Two(lambda i, o: getattr(pyg, kind)(i, o, **options)), x(6, 5), EDGES, *extra)


MODELS: Models = {
    "GraphUNet": lambda: row(pyg.GraphUNet(5, 12, 4, depth=2), x(6, 5), EDGES),
    "GCN": partial(basic, "GCN"),
    "GCN, jumping knowledge": partial(basic, "GCN", jk="cat"),
    "GCN, batch norm": partial(basic, "GCN", norm="batch_norm"),
    "GraphSAGE": partial(basic, "GraphSAGE"),
    "GAT": partial(basic, "GAT", heads=3),
    "GAT, v2": partial(basic, "GAT", heads=3, v2=True),
    "GIN": partial(basic, "GIN"),
    "EdgeCNN": partial(basic, "EdgeCNN"),
    "PNA": partial(
        basic,
        "PNA",
        aggregators=["mean", "max"],
        scalers=["identity", "amplification"],
        deg=torch.tensor([0, 4, 2]),
    ),
    "ChebConv": partial(two, "ChebConv", K=2),
    "TransformerConv": lambda: row(
        Two(lambda i, o: pyg.TransformerConv(i, o, heads=2, concat=False)), x(6, 5), EDGES
    ),
    "GraphConv": partial(two, "GraphConv"),
    "TAGConv": partial(two, "TAGConv"),
    "ARMAConv": partial(two, "ARMAConv"),
    "SGConv": partial(two, "SGConv"),
    "ResGatedGraphConv": partial(two, "ResGatedGraphConv"),
    "SuperGATConv": partial(two, "SuperGATConv"),
    "FiLMConv": partial(two, "FiLMConv"),
    "RGCNConv": partial(two, "RGCNConv", torch.arange(10) % 2, num_relations=2),
    "GENConv": partial(two, "GENConv"),
    "LEConv": partial(two, "LEConv"),
    "AttentiveFP": lambda: row(pyg.AttentiveFP(5, 12, 4, 3, 2, 2), x(6, 5), EDGES, x(10, 3), BATCH),
    "SchNet": lambda: row(
        pyg.SchNet(
            hidden_channels=12,
            num_filters=8,
            num_interactions=2,
            num_gaussians=6,
            interaction_graph=lambda pos, batch: (
                EDGES,
                (pos[EDGES[0]] - pos[EDGES[1]]).norm(dim=-1),
            ),
        ),
        torch.tensor([1, 6, 8, 1, 6, 8]),
        x(6, 3),
        BATCH,
    ),
    "MLP": lambda: row(pyg.MLP([5, 12, 8, 4]), x(6, 5)),
    "PMLP": lambda: row(pyg.PMLP(5, 12, 4, 3), x(6, 5), EDGES),
    "Polynormer": lambda: row(
        pyg.Polynormer(5, 12, 4, local_layers=1, global_layers=1, heads=2), x(6, 5), EDGES, BATCH
    ),
    "LINKX": lambda: row(pyg.LINKX(6, 5, 12, 4, 2), x(6, 5), EDGES),
    "NeuralFingerprint": lambda: row(pyg.NeuralFingerprint(5, 12, 4, 2), x(6, 5), EDGES, BATCH),
    "SignedGCN": lambda: row(pyg.SignedGCN(5, 12, 2), x(6, 5), EDGES, EDGES.flip(0)),
}
SINGLE = {"SGFormer": "sgformer.py takes the mean of ones in float32"}
