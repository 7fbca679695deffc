"""demucs: separation of music."""

from __future__ import annotations

from typing import Any

from libraries import Lazy, Models, row, x

plain = Lazy("demucs.demucs")
hybrid = Lazy("demucs.hdemucs")
transformer = Lazy("demucs.htdemucs")
crossing = Lazy("demucs.transformer")
SOURCES = ["a", "b"]
HYBRID: dict[str, Any] = {"channels": 8, "nfft": 1024, "depth": 4, "segment": 1, "samplerate": 4096}

MODELS: Models = {
    "HTDemucs": lambda: row(
        transformer.HTDemucs(
            SOURCES, **HYBRID, t_layers=2, t_heads=2, bottom_channels=16, use_train_segment=False
        ),
        x(1, 2, 4096),
    ),
    "HDemucs": lambda: row(
        hybrid.HDemucs(SOURCES, channels=4, nfft=1024, depth=5, samplerate=4096), x(1, 2, 4096)
    ),
    "Demucs": lambda: row(
        plain.Demucs(
            SOURCES,
            channels=4,
            depth=3,
            lstm_layers=1,
            samplerate=4096,
            resample=False,
            normalize=False,
        ),
        x(1, 2, 4096),
    ),
    "CrossTransformerEncoder": lambda: row(
        crossing.CrossTransformerEncoder(16, num_heads=2, num_layers=3, hidden_scale=2.0),
        x(1, 16, 3, 4),
        x(1, 16, 9),
    ),
}
