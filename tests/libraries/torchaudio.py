"""torchaudio: recognition, separation and synthesis of speech."""

from __future__ import annotations

from typing import Any

import torch

from libraries import Call, Lazy, Models, ids, row, x

models = Lazy("torchaudio.models")
LONG = torch.tensor([16, 12])


def first(y: Any) -> Any:
    return y[0]


W2V: dict[str, Any] = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(12, 10, 5), (12, 3, 2)],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 16,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 4,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 20,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.0,
    "aux_num_out": 5,
}

MODELS: Models = {
    "Emformer": lambda: row(
        Call(
            models.Emformer(
                16, 4, 20, 2, segment_length=4, left_context_length=4, right_context_length=2
            ),
            "forward",
            first,
        ),
        x(2, 18, 16),
        LONG,
    ),
    "RNNT, Emformer": lambda: row(
        Call(
            Lazy("torchaudio.models.rnnt").emformer_rnnt_model(
                input_dim=8,
                encoding_dim=12,
                num_symbols=9,
                segment_length=8,
                right_context_length=4,
                time_reduction_input_dim=4,
                time_reduction_stride=4,
                transformer_num_heads=2,
                transformer_ffn_dim=20,
                transformer_num_layers=1,
                transformer_dropout=0.0,
                transformer_activation="gelu",
                transformer_left_context_length=4,
                transformer_max_memory_size=0,
                transformer_weight_init_scale_strategy="depthwise",
                transformer_tanh_on_mem=True,
                symbol_embedding_dim=6,
                num_lstm_layers=1,
                lstm_layer_norm=True,
                lstm_layer_norm_epsilon=1e-3,
                lstm_dropout=0.0,
            ),
            "forward",
            first,
        ),
        x(2, 20, 8),
        torch.tensor([20, 16]),
        ids(2, 3, below=8).int(),
        torch.tensor([3, 2], dtype=torch.int32),
    ),
    "Conformer": lambda: row(
        Call(models.Conformer(16, 4, 20, 2, 3), "forward", first), x(2, 16, 16), LONG
    ),
    "Conformer, group norm": lambda: row(
        Call(
            models.Conformer(16, 4, 20, 1, 3, use_group_norm=True, convolution_first=True),
            "forward",
            first,
        ),
        x(2, 16, 16),
        LONG,
    ),
    "ConvTasNet": lambda: row(
        models.ConvTasNet(
            num_sources=2,
            enc_kernel_size=4,
            enc_num_feats=12,
            msk_num_feats=8,
            msk_num_hidden_feats=16,
            msk_num_layers=2,
            msk_num_stacks=1,
        ),
        x(2, 1, 64),
    ),
    "DeepSpeech": lambda: row(models.DeepSpeech(8, 12, 5), x(2, 1, 9, 8)),
    "HDemucs": lambda: row(
        models.HDemucs(["a", "b"], channels=8, nfft=1024, depth=5), x(1, 2, 4096)
    ),
    "Tacotron2": lambda: row(
        Call(
            models.Tacotron2(
                n_mels=8,
                n_symbol=16,
                symbol_embedding_dim=12,
                encoder_embedding_dim=12,
                encoder_n_convolution=2,
                decoder_rnn_dim=16,
                decoder_dropout=0.0,
                decoder_max_step=8,
                attention_rnn_dim=16,
                attention_hidden_dim=12,
                attention_location_n_filter=4,
                attention_location_kernel_size=3,
                attention_dropout=0.0,
                prenet_dim=8,
                postnet_n_convolution=2,
                postnet_embedding_dim=12,
            ),
            "forward",
            first,
        ),
        ids(2, 7, below=15),
        torch.tensor([7, 5]),
        x(2, 8, 6),
        torch.tensor([6, 4]),
    ),
    "Wav2Letter": lambda: row(
        models.Wav2Letter(num_classes=5, input_type="mfcc", num_features=8), x(1, 8, 64)
    ),
    "WaveRNN": lambda: row(
        models.WaveRNN(
            upsample_scales=[2, 2],
            n_classes=8,
            hop_length=4,
            n_res_block=1,
            n_rnn=12,
            n_fc=12,
            kernel_size=3,
            n_freq=6,
            n_hidden=8,
            n_output=8,
        ),
        x(1, 1, 16),
        x(1, 1, 6, 6),
    ),
    "Wav2Vec2": lambda: row(Call(models.wav2vec2_model(**W2V), "forward", first), x(2, 400)),
    "Wav2Vec2, layer norms": lambda: row(
        Call(
            models.wav2vec2_model(
                **{**W2V, "extractor_mode": "layer_norm", "encoder_layer_norm_first": True}
            ),
            "forward",
            first,
        ),
        x(2, 400),
        torch.tensor([400, 300]),
    ),
    "WavLM": lambda: row(
        Call(
            models.wavlm_model(**W2V, encoder_num_buckets=8, encoder_max_distance=16),
            "forward",
            first,
        ),
        x(2, 400),
    ),
    "SquimObjective": lambda: row(
        Lazy("torchaudio.models.squim").squim_objective_model(
            feat_dim=16,
            win_len=8,
            d_model=16,
            nhead=4,
            hidden_dim=12,
            num_blocks=1,
            rnn_type="LSTM",
            chunk_size=6,
        ),
        x(1, 128),
    ),
}
