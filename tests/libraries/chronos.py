"""chronos: forecasts of time series."""

from __future__ import annotations

from libraries import Call, Lazy, Models, row, x

transformers = Lazy("transformers")
bolt = Lazy("chronos.chronos_bolt")
two = Lazy("chronos.chronos2")
T5 = {
    "vocab_size": 2,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 20,
    "num_layers": 1,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "use_cache": False,
}

MODELS: Models = {
    "Chronos-Bolt": lambda: row(
        Call(
            bolt.ChronosBoltModelForForecasting(
                transformers.T5Config(
                    **T5,
                    chronos_config={
                        "context_length": 32,
                        "prediction_length": 8,
                        "input_patch_size": 8,
                        "input_patch_stride": 8,
                        "quantiles": [0.1, 0.5, 0.9],
                        "use_reg_token": True,
                    },
                )
            ),
            "forward",
            lambda y: y.quantile_preds,
        ),
        x(2, 32),
    ),
    "Chronos-2": lambda: row(
        Call(
            two.Chronos2Model(
                two.Chronos2CoreConfig(
                    d_model=16,
                    d_kv=6,
                    d_ff=20,
                    num_layers=1,
                    num_heads=4,
                    chronos_config={
                        "context_length": 32,
                        "output_patch_size": 8,
                        "input_patch_size": 8,
                        "input_patch_stride": 8,
                        "quantiles": [0.1, 0.5, 0.9],
                        "use_reg_token": True,
                        "use_arcsinh": True,
                        "max_output_patches": 1,
                        "time_encoding_scale": 32,
                    },
                )
            ),
            "forward",
            lambda y: y.quantile_preds,
        ),
        x(2, 32),
    ),
}
