"""speechbrain: recognition, speakers, enhancement, separation and synthesis."""

from __future__ import annotations

from typing import Any

import torch

from libraries import Call, Lazy, Models, ids, row, x

hifi = Lazy("speechbrain.lobes.models.HifiGAN")
ecapa = Lazy("speechbrain.lobes.models.ECAPA_TDNN")
xvector = Lazy("speechbrain.lobes.models.Xvector")
crdnn = Lazy("speechbrain.lobes.models.CRDNN")
resnet = Lazy("speechbrain.lobes.models.ResNet")
tacotron = Lazy("speechbrain.lobes.models.Tacotron2")
conv = Lazy("speechbrain.lobes.models.convolution")
metric = Lazy("speechbrain.lobes.models.MetricGAN")
lm = Lazy("speechbrain.lobes.models.RNNLM")
separate = Lazy("speechbrain.lobes.models.resepformer")
dual = Lazy("speechbrain.lobes.models.dual_path")
conformer = Lazy("speechbrain.lobes.models.transformer.Conformer")
branch = Lazy("speechbrain.lobes.models.transformer.Branchformer")
former = Lazy("speechbrain.lobes.models.transformer.Transformer")
attention = Lazy("speechbrain.nnet.attention")
rnn = Lazy("speechbrain.nnet.RNN")


def first(y: Any) -> Any:
    return y[0]


SPEAKER: dict[str, Any] = {
    "channels": [16, 16, 16, 16, 24],
    "lin_neurons": 10,
    "attention_channels": 8,
    "res2net_scale": 4,
    "se_channels": 8,
}
CONFORMER: dict[str, Any] = {
    "num_layers": 1,
    "d_model": 16,
    "nhead": 4,
    "kernel_size": 3,
}

MODELS: Models = {
    "HifiganGenerator": lambda: row(
        hifi.HifiganGenerator(8, 1, "1", [[1, 3, 5], [1, 3, 5]], [3, 5], [4, 4], 16, [2, 2]),
        x(1, 8, 10),
    ),
    "HifiganGenerator, resblock 2": lambda: row(
        hifi.HifiganGenerator(8, 1, "2", [[1, 3, 5], [1, 3, 5]], [3, 5], [4, 4], 16, [2, 2]),
        x(1, 8, 10),
    ),
    "Tacotron2": lambda: row(
        Call(
            tacotron.Tacotron2(
                n_mel_channels=8,
                n_symbols=16,
                symbols_embedding_dim=12,
                encoder_kernel_size=3,
                encoder_n_convolutions=2,
                encoder_embedding_dim=12,
                attention_rnn_dim=16,
                attention_dim=12,
                attention_location_n_filters=4,
                attention_location_kernel_size=3,
                decoder_rnn_dim=16,
                prenet_dim=8,
                p_attention_dropout=0.0,
                p_decoder_dropout=0.0,
                postnet_embedding_dim=12,
                postnet_kernel_size=3,
                postnet_n_convolutions=2,
            ),
            "forward",
            first,
        ),
        (
            ids(2, 7, below=15),
            torch.tensor([7, 5]),
            x(2, 8, 6),
            torch.tensor([6, 4]),
            torch.tensor([6, 4]),
        ),
    ),
    "ECAPA_TDNN": lambda: row(ecapa.ECAPA_TDNN(8, **SPEAKER), x(2, 20, 8)),
    "ECAPA_TDNN, lengths": lambda: row(
        ecapa.ECAPA_TDNN(8, **SPEAKER), x(2, 20, 8), torch.tensor([1.0, 0.5])
    ),
    "Xvector": lambda: row(
        xvector.Xvector(
            tdnn_blocks=2,
            tdnn_channels=[16, 24],
            tdnn_kernel_sizes=[3, 1],
            tdnn_dilations=[1, 1],
            lin_neurons=10,
            in_channels=8,
        ),
        x(2, 20, 8),
    ),
    "ResNet": lambda: row(
        resnet.ResNet(
            input_size=16, channels=[8, 8, 12, 12], block_sizes=[1, 1, 1, 1], lin_neurons=10
        ),
        x(2, 20, 16),
    ),
    "CRDNN": lambda: row(
        crdnn.CRDNN(
            input_shape=[2, 12, 8],
            cnn_blocks=1,
            cnn_channels=[8],
            rnn_layers=1,
            rnn_neurons=10,
            dnn_blocks=1,
            dnn_neurons=12,
        ),
        x(2, 12, 8),
    ),
    "CRDNN, LSTM": lambda: row(
        crdnn.CRDNN(
            input_shape=[2, 12, 8],
            cnn_blocks=1,
            cnn_channels=[8],
            rnn_layers=1,
            rnn_neurons=10,
            dnn_blocks=1,
            dnn_neurons=12,
            rnn_class=rnn.LSTM,
        ),
        x(2, 12, 8),
    ),
    "ConvolutionFrontEnd": lambda: row(
        conv.ConvolutionFrontEnd(
            (2, 12, 8),
            num_blocks=2,
            num_layers_per_block=1,
            out_channels=[8, 4],
            kernel_sizes=[3, 3],
            strides=[1, 2],
            residuals=[False, True],
        ),
        x(2, 12, 8),
    ),
    "RNNLM": lambda: row(
        lm.RNNLM(9, embedding_dim=8, rnn_layers=1, rnn_neurons=10, dnn_blocks=1, dnn_neurons=12),
        ids(2, 6, below=8),
    ),
    "ResourceEfficientSeparator": lambda: row(
        separate.ResourceEfficientSeparator(
            12,
            unit=10,
            segment_size=4,
            layer=1,
            causal=False,
            mem_type="av",
            seg_model=separate.SBTransformerBlock_wnormandskip(1, 12, 2, d_ffn=16),
            mem_model=separate.SBTransformerBlock_wnormandskip(1, 12, 2, d_ffn=16),
        ),
        x(1, 12, 12),
    ),
    "SepFormer": lambda: row(
        dual.Dual_Path_Model(
            8,
            12,
            dual.SBTransformerBlock(1, 12, 2, d_ffn=16),
            dual.SBTransformerBlock(1, 12, 2, d_ffn=16),
            K=4,
        ),
        x(1, 8, 12),
    ),
    "Conformer, regular": lambda: row(
        Call(
            conformer.ConformerEncoder(**CONFORMER, d_ffn=20, attention_type="regularMHA"),
            "forward",
            first,
        ),
        x(2, 6, 16),
    ),
    "Branchformer": lambda: row(
        Call(
            branch.BranchformerEncoder(
                **CONFORMER, csgu_linear_units=24, attention_type="regularMHA"
            ),
            "forward",
            first,
        ),
        x(2, 6, 16),
    ),
    "Transformer": lambda: row(
        Call(former.TransformerEncoder(1, 4, 20, d_model=16), "forward", first), x(2, 6, 16)
    ),
}
SINGLE = {"Conformer": "attention.py:730 multiplies by a float32 tensor"}
