"""asteroid: separation of speech."""

from __future__ import annotations

from libraries import Lazy, Models, row, x

models = Lazy("asteroid.models")
nets = Lazy("asteroid.masknn.convolutional")
SMALL = {"n_filters": 12, "kernel_size": 8, "stride": 4}

MODELS: Models = {
    "ConvTasNet": lambda: row(
        models.ConvTasNet(2, n_blocks=2, n_repeats=1, bn_chan=8, hid_chan=12, skip_chan=8, **SMALL),
        x(1, 1, 128),
    ),
    "DPRNNTasNet": lambda: row(
        models.DPRNNTasNet(2, bn_chan=8, hid_size=8, chunk_size=6, n_repeats=1, **SMALL),
        x(1, 1, 128),
    ),
    "DPTNet": lambda: row(
        models.DPTNet(2, n_heads=2, ff_hid=8, chunk_size=6, n_repeats=1, **SMALL), x(1, 1, 128)
    ),
    "LSTMTasNet": lambda: row(models.LSTMTasNet(2, hid_size=8, n_layers=1, **SMALL), x(1, 1, 128)),
    "SuDORMRFNet": lambda: row(
        models.SuDORMRFNet(
            2, bn_chan=8, num_blocks=1, upsampling_depth=2, kernel_size=8, n_filters=12
        ),
        x(1, 1, 128),
    ),
    "SuDORMRFImprovedNet": lambda: row(
        models.SuDORMRFImprovedNet(
            2, bn_chan=8, num_blocks=1, upsampling_depth=2, kernel_size=8, n_filters=12
        ),
        x(1, 1, 128),
    ),
    "TDConvNet": lambda: row(
        nets.TDConvNet(12, 2, n_blocks=2, n_repeats=1, bn_chan=8, hid_chan=12, skip_chan=8),
        x(1, 12, 20),
    ),
    "TDConvNet++": lambda: row(
        nets.TDConvNetpp(12, 2, n_blocks=2, n_repeats=2, bn_chan=8, hid_chan=12), x(1, 12, 20)
    ),
    "FasNetTAC": lambda: row(
        models.FasNetTAC(
            2,
            enc_dim=8,
            feature_dim=8,
            hidden_dim=8,
            n_layers=1,
            chunk_size=6,
            hop_size=3,
            tac_hidden_dim=12,
        ),
        x(1, 2, 2048),
    ),
    "DeMask": lambda: row(
        models.DeMask(input_type="mag", hidden_dims=(12,), n_filters=32, kernel_size=32, stride=16),
        x(1, 1, 256),
    ),
}
