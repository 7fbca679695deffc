"""The layouts and reasons of rows that a loop of the table makes."""

LAYOUTS = {
    "an LSTM": (
        "fc: a 5; rnn.weight_ih_l0: (4 b) a; rnn.weight_hh_l0: (4 b) b; rnn.bias_ih_l0: (4 b); "
        "rnn.bias_hh_l0: (4 b); head.weight: 3 b"
    ),
    "a GRU": (
        "fc: a 5; rnn.weight_ih_l0: (3 b) a; rnn.weight_hh_l0: (3 b) b; rnn.bias_ih_l0: (3 b); "
        "rnn.bias_hh_l0: (3 b); head.weight: 3 b"
    ),
    "an RNN": (
        "fc: a 5; rnn.weight_ih_l0: b a; rnn.weight_hh_l0: b b; rnn.bias_ih_l0: b; "
        "rnn.bias_hh_l0: b; head.weight: 3 b"
    ),
    "an LSTM in both directions": (
        "fc: a 5; rnn.weight_ih_l0: (4 b) a; rnn.weight_hh_l0: (4 b) b; rnn.bias_ih_l0: (4 b); "
        "rnn.bias_hh_l0: (4 b); rnn.weight_ih_l0_reverse: (4 b) a; "
        "rnn.weight_hh_l0_reverse: (4 b) b; rnn.bias_ih_l0_reverse: (4 b); "
        "rnn.bias_hh_l0_reverse: (4 b); head.weight: 3 (b + b)"
    ),
    "a GRU in both directions": (
        "fc: a 5; rnn.weight_ih_l0: (3 b) a; rnn.weight_hh_l0: (3 b) b; rnn.bias_ih_l0: (3 b); "
        "rnn.bias_hh_l0: (3 b); rnn.weight_ih_l0_reverse: (3 b) a; "
        "rnn.weight_hh_l0_reverse: (3 b) b; rnn.bias_ih_l0_reverse: (3 b); "
        "rnn.bias_hh_l0_reverse: (3 b); head.weight: 3 (b + b)"
    ),
    "an RNN in both directions": (
        "fc: a 5; rnn.weight_ih_l0: b a; rnn.weight_hh_l0: b b; rnn.bias_ih_l0: b; "
        "rnn.bias_hh_l0: b; rnn.weight_ih_l0_reverse: b a; rnn.weight_hh_l0_reverse: b b; "
        "rnn.bias_ih_l0_reverse: b; rnn.bias_hh_l0_reverse: b; head.weight: 3 (b + b)"
    ),
    "an LSTM of two layers": (
        "fc: a 5; rnn.weight_ih_l0: (4 b) a; rnn.weight_hh_l0: (4 b) b; rnn.bias_ih_l0: (4 b); "
        "rnn.bias_hh_l0: (4 b); rnn.weight_ih_l1: (4 b) b; rnn.weight_hh_l1: (4 b) b; "
        "rnn.bias_ih_l1: (4 b); rnn.bias_hh_l1: (4 b); head.weight: 3 b"
    ),
    "a GRU of two layers": (
        "fc: a 5; rnn.weight_ih_l0: (3 b) a; rnn.weight_hh_l0: (3 b) b; rnn.bias_ih_l0: (3 b); "
        "rnn.bias_hh_l0: (3 b); rnn.weight_ih_l1: (3 b) b; rnn.weight_hh_l1: (3 b) b; "
        "rnn.bias_ih_l1: (3 b); rnn.bias_hh_l1: (3 b); head.weight: 3 b"
    ),
    "an RNN of two layers": (
        "fc: a 5; rnn.weight_ih_l0: b a; rnn.weight_hh_l0: b b; rnn.bias_ih_l0: b; "
        "rnn.bias_hh_l0: b; rnn.weight_ih_l1: b b; rnn.weight_hh_l1: b b; rnn.bias_ih_l1: b; "
        "rnn.bias_hh_l1: b; head.weight: 3 b"
    ),
    "an LSTM of two layers in both directions": (
        "fc: a 5; rnn.weight_ih_l0: (4 b) a; rnn.weight_hh_l0: (4 b) b; rnn.bias_ih_l0: (4 b); "
        "rnn.bias_hh_l0: (4 b); rnn.weight_ih_l0_reverse: (4 b) a; "
        "rnn.weight_hh_l0_reverse: (4 b) b; rnn.bias_ih_l0_reverse: (4 b); "
        "rnn.bias_hh_l0_reverse: (4 b); rnn.weight_ih_l1: (4 b) (b + b); "
        "rnn.weight_hh_l1: (4 b) b; rnn.bias_ih_l1: (4 b); rnn.bias_hh_l1: (4 b); "
        "rnn.weight_ih_l1_reverse: (4 b) (b + b); rnn.weight_hh_l1_reverse: (4 b) b; "
        "rnn.bias_ih_l1_reverse: (4 b); rnn.bias_hh_l1_reverse: (4 b); head.weight: 3 (b + b)"
    ),
    "a GRU of two layers in both directions": (
        "fc: a 5; rnn.weight_ih_l0: (3 b) a; rnn.weight_hh_l0: (3 b) b; rnn.bias_ih_l0: (3 b); "
        "rnn.bias_hh_l0: (3 b); rnn.weight_ih_l0_reverse: (3 b) a; "
        "rnn.weight_hh_l0_reverse: (3 b) b; rnn.bias_ih_l0_reverse: (3 b); "
        "rnn.bias_hh_l0_reverse: (3 b); rnn.weight_ih_l1: (3 b) (b + b); "
        "rnn.weight_hh_l1: (3 b) b; rnn.bias_ih_l1: (3 b); rnn.bias_hh_l1: (3 b); "
        "rnn.weight_ih_l1_reverse: (3 b) (b + b); rnn.weight_hh_l1_reverse: (3 b) b; "
        "rnn.bias_ih_l1_reverse: (3 b); rnn.bias_hh_l1_reverse: (3 b); head.weight: 3 (b + b)"
    ),
    "an RNN of two layers in both directions": (
        "fc: a 5; rnn.weight_ih_l0: b a; rnn.weight_hh_l0: b b; rnn.bias_ih_l0: b; "
        "rnn.bias_hh_l0: b; rnn.weight_ih_l0_reverse: b a; rnn.weight_hh_l0_reverse: b b; "
        "rnn.bias_ih_l0_reverse: b; rnn.bias_hh_l0_reverse: b; rnn.weight_ih_l1: b (b + b); "
        "rnn.weight_hh_l1: b b; rnn.bias_ih_l1: b; rnn.bias_hh_l1: b; "
        "rnn.weight_ih_l1_reverse: b (b + b); rnn.weight_hh_l1_reverse: b b; "
        "rnn.bias_ih_l1_reverse: b; rnn.bias_hh_l1_reverse: b; head.weight: 3 (b + b)"
    ),
    "an LSTM cell": (
        "fc: a 5; cell.weight_ih: (4 b) a; cell.weight_hh: (4 b) b; cell.bias_ih: (4 b); "
        "cell.bias_hh: (4 b); head.weight: 3 b"
    ),
    "a GRU cell": (
        "fc: a 5; cell.weight_ih: (3 b) a; cell.weight_hh: (3 b) b; cell.bias_ih: (3 b); "
        "cell.bias_hh: (3 b); head.weight: 3 b"
    ),
    "an RNN cell": (
        "fc: a 5; cell.weight_ih: b a; cell.weight_hh: b b; cell.bias_ih: b; cell.bias_hh: b; "
        "head.weight: 3 b"
    ),
    "torch's encoder layer, norms behind": (
        "embed: a~ 5; layer.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.self_attn.out_proj: a~ (b d); layer.linear1: e a~; layer.linear2: a~ e; "
        "layer.norm1: a~; layer.norm2: a~; head.weight: 3 a~"
    ),
    "torch's encoder layer, norms before": (
        "embed: a~ 5; layer.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.self_attn.out_proj: a~ (b d); layer.linear1: e a~; layer.linear2: a~ e; "
        "layer.norm1: a~; layer.norm2: a~; head.weight: 3 a~"
    ),
    "torch's encoder layer, batch second, gelu": (
        "embed: a~ 5; layer.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.self_attn.out_proj: a~ (b d); layer.linear1: e a~; layer.linear2: a~ e; "
        "layer.norm1: a~; layer.norm2: a~; head.weight: 3 a~"
    ),
    "torch's encoder layer without biases": (
        "embed: a~ 5; layer.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.self_attn.out_proj: a~ (b d); layer.linear1: e a~; layer.linear2: a~ e; "
        "layer.norm1: a~; layer.norm2: a~; head.weight: 3 a~"
    ),
    "torch's encoder, two layers and a norm": (
        "embed: a~ 5; layer.layers.0.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.layers.0.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.layers.0.self_attn.out_proj: a~ (b d); layer.layers.0.linear1: e a~; "
        "layer.layers.0.linear2: a~ e; layer.layers.0.norm1: a~; layer.layers.0.norm2: a~; "
        "layer.layers.1.self_attn.in_proj_weight: ((f g) + (f g) + (f h)) a~; "
        "layer.layers.1.self_attn.in_proj_bias: ((f g) + (f g) + (f h)); "
        "layer.layers.1.self_attn.out_proj: a~ (f h); layer.layers.1.linear1: i a~; "
        "layer.layers.1.linear2: a~ i; layer.layers.1.norm1: a~; layer.layers.1.norm2: a~; "
        "layer.norm: a~; head.weight: 3 a~"
    ),
    "torch's encoder, two layers, norms behind": (
        "embed: a~ 5; layer.layers.0.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.layers.0.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.layers.0.self_attn.out_proj: a~ (b d); layer.layers.0.linear1: e a~; "
        "layer.layers.0.linear2: a~ e; layer.layers.0.norm1: a~; layer.layers.0.norm2: a~; "
        "layer.layers.1.self_attn.in_proj_weight: ((f g) + (f g) + (f h)) a~; "
        "layer.layers.1.self_attn.in_proj_bias: ((f g) + (f g) + (f h)); "
        "layer.layers.1.self_attn.out_proj: a~ (f h); layer.layers.1.linear1: i a~; "
        "layer.layers.1.linear2: a~ i; layer.layers.1.norm1: a~; layer.layers.1.norm2: a~; "
        "head.weight: 3 a~"
    ),
    "torch's decoder layer, norms behind": (
        "mine: a~ 5; theirs: a~ 6; layer.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.self_attn.out_proj: a~ (b d); "
        "layer.multihead_attn.in_proj_weight: ((e f) + (e f) + (e g)) a~; "
        "layer.multihead_attn.in_proj_bias: ((e f) + (e f) + (e g)); "
        "layer.multihead_attn.out_proj: a~ (e g); layer.linear1: h a~; layer.linear2: a~ h; "
        "layer.norm1: a~; layer.norm2: a~; layer.norm3: a~; head.weight: 3 a~"
    ),
    "torch's decoder layer, norms before": (
        "mine: a~ 5; theirs: a~ 6; layer.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.self_attn.out_proj: a~ (b d); "
        "layer.multihead_attn.in_proj_weight: ((e f) + (e f) + (e g)) a~; "
        "layer.multihead_attn.in_proj_bias: ((e f) + (e f) + (e g)); "
        "layer.multihead_attn.out_proj: a~ (e g); layer.linear1: h a~; layer.linear2: a~ h; "
        "layer.norm1: a~; layer.norm2: a~; layer.norm3: a~; head.weight: 3 a~"
    ),
    "torch's transformer, norms behind": (
        "mine: a~ 5; theirs: a~ 6; "
        "layer.encoder.layers.0.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.encoder.layers.0.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.encoder.layers.0.self_attn.out_proj: a~ (b d); "
        "layer.encoder.layers.0.linear1: e a~; layer.encoder.layers.0.linear2: a~ e; "
        "layer.encoder.layers.0.norm1: a~; layer.encoder.layers.0.norm2: a~; "
        "layer.encoder.norm: a~; "
        "layer.decoder.layers.0.self_attn.in_proj_weight: ((f g) + (f g) + (f h)) a~; "
        "layer.decoder.layers.0.self_attn.in_proj_bias: ((f g) + (f g) + (f h)); "
        "layer.decoder.layers.0.self_attn.out_proj: a~ (f h); "
        "layer.decoder.layers.0.multihead_attn.in_proj_weight: ((i j) + (i j) + (i k)) a~; "
        "layer.decoder.layers.0.multihead_attn.in_proj_bias: ((i j) + (i j) + (i k)); "
        "layer.decoder.layers.0.multihead_attn.out_proj: a~ (i k); "
        "layer.decoder.layers.0.linear1: l a~; layer.decoder.layers.0.linear2: a~ l; "
        "layer.decoder.layers.0.norm1: a~; layer.decoder.layers.0.norm2: a~; "
        "layer.decoder.layers.0.norm3: a~; layer.decoder.norm: a~; head.weight: 3 a~"
    ),
    "torch's transformer, norms before": (
        "mine: a~ 5; theirs: a~ 6; "
        "layer.encoder.layers.0.self_attn.in_proj_weight: ((b c) + (b c) + (b d)) a~; "
        "layer.encoder.layers.0.self_attn.in_proj_bias: ((b c) + (b c) + (b d)); "
        "layer.encoder.layers.0.self_attn.out_proj: a~ (b d); "
        "layer.encoder.layers.0.linear1: e a~; layer.encoder.layers.0.linear2: a~ e; "
        "layer.encoder.layers.0.norm1: a~; layer.encoder.layers.0.norm2: a~; "
        "layer.encoder.norm: a~; "
        "layer.decoder.layers.0.self_attn.in_proj_weight: ((f g) + (f g) + (f h)) a~; "
        "layer.decoder.layers.0.self_attn.in_proj_bias: ((f g) + (f g) + (f h)); "
        "layer.decoder.layers.0.self_attn.out_proj: a~ (f h); "
        "layer.decoder.layers.0.multihead_attn.in_proj_weight: ((i j) + (i j) + (i k)) a~; "
        "layer.decoder.layers.0.multihead_attn.in_proj_bias: ((i j) + (i j) + (i k)); "
        "layer.decoder.layers.0.multihead_attn.out_proj: a~ (i k); "
        "layer.decoder.layers.0.linear1: l a~; layer.decoder.layers.0.linear2: a~ l; "
        "layer.decoder.layers.0.norm1: a~; layer.decoder.layers.0.norm2: a~; "
        "layer.decoder.layers.0.norm3: a~; layer.decoder.norm: a~; head.weight: 3 a~"
    ),
    "weight norm by the old hook of a linear layer, over all dims but 0": (
        "first: a 5; normed.bias: b; normed.weight_g: b 1; normed.weight_v: b a; head.weight: 3 b"
    ),
    "weight norm by the old hook of a linear layer, over all dims but 1": (
        "first: a 5; normed.bias: b; normed.weight_g: 1 a; normed.weight_v: b a; head.weight: 3 b"
    ),
    "weight norm by the old hook of a linear layer, over all dims but -1": (
        "first: a 5; normed.bias: b; normed.weight_v: b a; head.weight: 3 b"
    ),
    "weight norm by the old hook of a linear layer, over all dims but None": (
        "first: a 5; normed.bias: b; normed.weight_v: b a; head.weight: 3 b"
    ),
    "weight norm by parametrisation of a linear layer, over all dims but 0": (
        "first: a 5; normed.bias: b; normed.parametrizations.weight.original0: b 1; "
        "normed.parametrizations.weight.original1: b a; head.weight: 3 b"
    ),
    "weight norm by parametrisation of a linear layer, over all dims but 1": (
        "first: a 5; normed.bias: b; normed.parametrizations.weight.original0: 1 a; "
        "normed.parametrizations.weight.original1: b a; head.weight: 3 b"
    ),
    "weight norm by parametrisation of a linear layer, over all dims but -1": (
        "first: a 5; normed.bias: b; normed.parametrizations.weight.original1: b a; "
        "head.weight: 3 b"
    ),
    "weight norm by parametrisation of a linear layer, over all dims but None": (
        "first: a 5; normed.bias: b; normed.parametrizations.weight.original1: b a; "
        "head.weight: 3 b"
    ),
    "weight norm by the old hook of a convolution, over all dims but 0": (
        "first: a 3 3 3; normed.bias: b; normed.weight_g: b 1 1 1; normed.weight_v: b a 3 3; "
        "head.weight: 4 b 3 3"
    ),
    "weight norm by the old hook of a convolution, over all dims but 1": (
        "first: a 3 3 3; normed.bias: b; normed.weight_g: 1 a 1 1; normed.weight_v: b a 3 3; "
        "head.weight: 4 b 3 3"
    ),
    "weight norm by the old hook of a convolution, over all dims but -1": (
        "first: a 3 3 3; normed.bias: b; normed.weight_v: b a 3 3; head.weight: 4 b 3 3"
    ),
    "weight norm by the old hook of a convolution, over all dims but None": (
        "first: a 3 3 3; normed.bias: b; normed.weight_v: b a 3 3; head.weight: 4 b 3 3"
    ),
    "weight norm by parametrisation of a convolution, over all dims but 0": (
        "first: a 3 3 3; normed.bias: b; normed.parametrizations.weight.original0: b 1 1 1; "
        "normed.parametrizations.weight.original1: b a 3 3; head.weight: 4 b 3 3"
    ),
    "weight norm by parametrisation of a convolution, over all dims but 1": (
        "first: a 3 3 3; normed.bias: b; normed.parametrizations.weight.original0: 1 a 1 1; "
        "normed.parametrizations.weight.original1: b a 3 3; head.weight: 4 b 3 3"
    ),
    "weight norm by parametrisation of a convolution, over all dims but -1": (
        "first: a 3 3 3; normed.bias: b; normed.parametrizations.weight.original1: b a 3 3; "
        "head.weight: 4 b 3 3"
    ),
    "weight norm by parametrisation of a convolution, over all dims but None": (
        "first: a 3 3 3; normed.bias: b; normed.parametrizations.weight.original1: b a 3 3; "
        "head.weight: 4 b 3 3"
    ),
    "weight norm by the old hook of a transposed convolution, over all dims but 0": (
        "first: a 1 3; normed.bias: b; normed.weight_g: a 1 1; normed.weight_v: a b 4; "
        "head.weight: 1 b 3"
    ),
    "weight norm by the old hook of a transposed convolution, over all dims but 1": (
        "first: a 1 3; normed.bias: b; normed.weight_g: 1 b 1; normed.weight_v: a b 4; "
        "head.weight: 1 b 3"
    ),
    "weight norm by the old hook of a transposed convolution, over all dims but -1": (
        "first: a 1 3; normed.bias: b; normed.weight_v: a b 4; head.weight: 1 b 3"
    ),
    "weight norm by the old hook of a transposed convolution, over all dims but None": (
        "first: a 1 3; normed.bias: b; normed.weight_v: a b 4; head.weight: 1 b 3"
    ),
    "weight norm by parametrisation of a transposed convolution, over all dims but 0": (
        "first: a 1 3; normed.bias: b; normed.parametrizations.weight.original0: a 1 1; "
        "normed.parametrizations.weight.original1: a b 4; head.weight: 1 b 3"
    ),
    "weight norm by parametrisation of a transposed convolution, over all dims but 1": (
        "first: a 1 3; normed.bias: b; normed.parametrizations.weight.original0: 1 b 1; "
        "normed.parametrizations.weight.original1: a b 4; head.weight: 1 b 3"
    ),
    "weight norm by parametrisation of a transposed convolution, over all dims but -1": (
        "first: a 1 3; normed.bias: b; normed.parametrizations.weight.original1: a b 4; "
        "head.weight: 1 b 3"
    ),
    "weight norm by parametrisation of a transposed convolution, over all dims but None": (
        "first: a 1 3; normed.bias: b; normed.parametrizations.weight.original1: a b 4; "
        "head.weight: 1 b 3"
    ),
    "weight norm by the old hook of a grouped convolution": (
        "first: (a b) 1 3; normed.bias: (a c); normed.weight_g: (a c) 1 1; "
        "normed.weight_v: (a c) b 3; head.weight: 1 (a c) 3"
    ),
    "weight norm by parametrisation of a grouped convolution": (
        "first: (a b) 1 3; normed.bias: (a c); "
        "normed.parametrizations.weight.original0: (a c) 1 1; "
        "normed.parametrizations.weight.original1: (a c) b 3; head.weight: 1 (a c) 3"
    ),
    "weight norm by the old hook in a residual block, of a weight whose two dims are one axis": (
        "first.bias: a; first.weight_g: a 1 1; first.weight_v: a 1 3; normed.bias: a; "
        "normed.weight_g: a 1 1; normed.weight_v: a a 3; head.weight_v: 1 a 3"
    ),
    "weight norm by parametrisation in a residual block, of a weight whose two dims are one axis": (
        "first.bias: a; first.parametrizations.weight.original0: a 1 1; "
        "first.parametrizations.weight.original1: a 1 3; normed.bias: a; "
        "normed.parametrizations.weight.original0: a 1 1; "
        "normed.parametrizations.weight.original1: a a 3; "
        "head.parametrizations.weight.original1: 1 a 3"
    ),
    "HiFi-GAN's generator, weight norm by the old hook": (
        "net.pre.bias: a; net.pre.weight_g: a 1 1; net.pre.weight_v: a 5 3; net.ups.0.bias: b; "
        "net.ups.0.weight_g: a 1 1; net.ups.0.weight_v: a b 4; net.ups.1.bias: c; "
        "net.ups.1.weight_g: b 1 1; net.ups.1.weight_v: b c 4; net.blocks.0.0.one.0.bias: d; "
        "net.blocks.0.0.one.0.weight_g: d 1 1; net.blocks.0.0.one.0.weight_v: d b 3; "
        "net.blocks.0.0.one.1.bias: e; net.blocks.0.0.one.1.weight_g: e 1 1; "
        "net.blocks.0.0.one.1.weight_v: e b 3; net.blocks.0.0.two.0.bias: b; "
        "net.blocks.0.0.two.0.weight_g: b 1 1; net.blocks.0.0.two.0.weight_v: b d 3; "
        "net.blocks.0.0.two.1.bias: b; net.blocks.0.0.two.1.weight_g: b 1 1; "
        "net.blocks.0.0.two.1.weight_v: b e 3; net.blocks.0.1.one.0.bias: f; "
        "net.blocks.0.1.one.0.weight_g: f 1 1; net.blocks.0.1.one.0.weight_v: f b 3; "
        "net.blocks.0.1.one.1.bias: g; net.blocks.0.1.one.1.weight_g: g 1 1; "
        "net.blocks.0.1.one.1.weight_v: g b 3; net.blocks.0.1.two.0.bias: b; "
        "net.blocks.0.1.two.0.weight_g: b 1 1; net.blocks.0.1.two.0.weight_v: b f 3; "
        "net.blocks.0.1.two.1.bias: b; net.blocks.0.1.two.1.weight_g: b 1 1; "
        "net.blocks.0.1.two.1.weight_v: b g 3; net.blocks.1.0.one.0.bias: h; "
        "net.blocks.1.0.one.0.weight_g: h 1 1; net.blocks.1.0.one.0.weight_v: h c 3; "
        "net.blocks.1.0.one.1.bias: i; net.blocks.1.0.one.1.weight_g: i 1 1; "
        "net.blocks.1.0.one.1.weight_v: i c 3; net.blocks.1.0.two.0.bias: c; "
        "net.blocks.1.0.two.0.weight_g: c 1 1; net.blocks.1.0.two.0.weight_v: c h 3; "
        "net.blocks.1.0.two.1.bias: c; net.blocks.1.0.two.1.weight_g: c 1 1; "
        "net.blocks.1.0.two.1.weight_v: c i 3; net.blocks.1.1.one.0.bias: j; "
        "net.blocks.1.1.one.0.weight_g: j 1 1; net.blocks.1.1.one.0.weight_v: j c 3; "
        "net.blocks.1.1.one.1.bias: k; net.blocks.1.1.one.1.weight_g: k 1 1; "
        "net.blocks.1.1.one.1.weight_v: k c 3; net.blocks.1.1.two.0.bias: c; "
        "net.blocks.1.1.two.0.weight_g: c 1 1; net.blocks.1.1.two.0.weight_v: c j 3; "
        "net.blocks.1.1.two.1.bias: c; net.blocks.1.1.two.1.weight_g: c 1 1; "
        "net.blocks.1.1.two.1.weight_v: c k 3; net.post.weight_v: 1 c 3"
    ),
    "HiFi-GAN's discriminator of a period, weight norm by the old hook": (
        "net.convs.0.bias: a; net.convs.0.weight_g: a 1 1 1; net.convs.0.weight_v: a 1 3 1; "
        "net.convs.1.bias: b; net.convs.1.weight_g: b 1 1 1; net.convs.1.weight_v: b a 3 1; "
        "net.convs.2.bias: c; net.convs.2.weight_g: c 1 1 1; net.convs.2.weight_v: c b 3 1; "
        "net.post.weight_v: 1 c 3 1"
    ),
    "a WaveNet, weight norm by the old hook": (
        "net.pre.bias: a; net.pre.weight_g: a 1 1; net.pre.weight_v: a 1 3; "
        "net.gates.0.bias: (b + b); net.gates.0.weight_g: (b + b) 1 1; "
        "net.gates.0.weight_v: (b + b) a 3; net.gates.1.bias: (c + c); "
        "net.gates.1.weight_g: (c + c) 1 1; net.gates.1.weight_v: (c + c) a 3; "
        "net.gates.2.bias: (d + d); net.gates.2.weight_g: (d + d) 1 1; "
        "net.gates.2.weight_v: (d + d) a 3; net.stay.0.bias: a; net.stay.0.weight_g: a 1 1; "
        "net.stay.0.weight_v: a b 1; net.stay.1.bias: a; net.stay.1.weight_g: a 1 1; "
        "net.stay.1.weight_v: a c 1; net.stay.2.bias: a; net.stay.2.weight_g: a 1 1; "
        "net.stay.2.weight_v: a d 1; net.skip.0.bias: e; net.skip.0.weight_g: e 1 1; "
        "net.skip.0.weight_v: e b 1; net.skip.1.bias: e; net.skip.1.weight_g: e 1 1; "
        "net.skip.1.weight_v: e c 1; net.skip.2.bias: e; net.skip.2.weight_g: e 1 1; "
        "net.skip.2.weight_v: e d 1; net.post.1.bias: f; net.post.1.weight_g: f 1 1; "
        "net.post.1.weight_v: f e 1; net.head.weight_v: 3 f 1"
    ),
    "a codec with snakes, weight norm by the old hook": (
        "net.pre.bias: a; net.pre.weight_g: a 1 1; net.pre.weight_v: a 1 3; "
        "net.encode.0.0.alpha: 1 a 1; net.encode.0.1.bias: b; net.encode.0.1.weight_g: b 1 1; "
        "net.encode.0.1.weight_v: b a 3; net.encode.0.2.alpha: 1 b 1; net.encode.0.3.bias: a; "
        "net.encode.0.3.weight_g: a 1 1; net.encode.0.3.weight_v: a b 1; "
        "net.encode.1.0.alpha: 1 a 1; net.encode.1.1.bias: c; net.encode.1.1.weight_g: c 1 1; "
        "net.encode.1.1.weight_v: c a 3; net.encode.1.2.alpha: 1 c 1; net.encode.1.3.bias: a; "
        "net.encode.1.3.weight_g: a 1 1; net.encode.1.3.weight_v: a c 1; net.down.0.alpha: 1 a 1; "
        "net.down.1.bias: d; net.down.1.weight_g: d 1 1; net.down.1.weight_v: d a 4; "
        "net.code.bias: e; net.code.weight_g: e 1 1; net.code.weight_v: e d 1; "
        "net.up.0.alpha: 1 e 1; net.up.1.bias: f; net.up.1.weight_g: e 1 1; "
        "net.up.1.weight_v: e f 4; net.decode.0.0.alpha: 1 f 1; net.decode.0.1.bias: g; "
        "net.decode.0.1.weight_g: g 1 1; net.decode.0.1.weight_v: g f 3; "
        "net.decode.0.2.alpha: 1 g 1; net.decode.0.3.bias: f; net.decode.0.3.weight_g: f 1 1; "
        "net.decode.0.3.weight_v: f g 1; net.decode.1.0.alpha: 1 f 1; net.decode.1.1.bias: h; "
        "net.decode.1.1.weight_g: h 1 1; net.decode.1.1.weight_v: h f 3; "
        "net.decode.1.2.alpha: 1 h 1; net.decode.1.3.bias: f; net.decode.1.3.weight_g: f 1 1; "
        "net.decode.1.3.weight_v: f h 1; net.post.0.alpha: 1 f 1; net.post.1.weight_v: 1 f 3"
    ),
    "HiFi-GAN's generator, weight norm by parametrisation": (
        "net.pre.bias: a; net.pre.parametrizations.weight.original0: a 1 1; "
        "net.pre.parametrizations.weight.original1: a 5 3; net.ups.0.bias: b; "
        "net.ups.0.parametrizations.weight.original0: a 1 1; "
        "net.ups.0.parametrizations.weight.original1: a b 4; net.ups.1.bias: c; "
        "net.ups.1.parametrizations.weight.original0: b 1 1; "
        "net.ups.1.parametrizations.weight.original1: b c 4; net.blocks.0.0.one.0.bias: d; "
        "net.blocks.0.0.one.0.parametrizations.weight.original0: d 1 1; "
        "net.blocks.0.0.one.0.parametrizations.weight.original1: d b 3; "
        "net.blocks.0.0.one.1.bias: e; "
        "net.blocks.0.0.one.1.parametrizations.weight.original0: e 1 1; "
        "net.blocks.0.0.one.1.parametrizations.weight.original1: e b 3; "
        "net.blocks.0.0.two.0.bias: b; "
        "net.blocks.0.0.two.0.parametrizations.weight.original0: b 1 1; "
        "net.blocks.0.0.two.0.parametrizations.weight.original1: b d 3; "
        "net.blocks.0.0.two.1.bias: b; "
        "net.blocks.0.0.two.1.parametrizations.weight.original0: b 1 1; "
        "net.blocks.0.0.two.1.parametrizations.weight.original1: b e 3; "
        "net.blocks.0.1.one.0.bias: f; "
        "net.blocks.0.1.one.0.parametrizations.weight.original0: f 1 1; "
        "net.blocks.0.1.one.0.parametrizations.weight.original1: f b 3; "
        "net.blocks.0.1.one.1.bias: g; "
        "net.blocks.0.1.one.1.parametrizations.weight.original0: g 1 1; "
        "net.blocks.0.1.one.1.parametrizations.weight.original1: g b 3; "
        "net.blocks.0.1.two.0.bias: b; "
        "net.blocks.0.1.two.0.parametrizations.weight.original0: b 1 1; "
        "net.blocks.0.1.two.0.parametrizations.weight.original1: b f 3; "
        "net.blocks.0.1.two.1.bias: b; "
        "net.blocks.0.1.two.1.parametrizations.weight.original0: b 1 1; "
        "net.blocks.0.1.two.1.parametrizations.weight.original1: b g 3; "
        "net.blocks.1.0.one.0.bias: h; "
        "net.blocks.1.0.one.0.parametrizations.weight.original0: h 1 1; "
        "net.blocks.1.0.one.0.parametrizations.weight.original1: h c 3; "
        "net.blocks.1.0.one.1.bias: i; "
        "net.blocks.1.0.one.1.parametrizations.weight.original0: i 1 1; "
        "net.blocks.1.0.one.1.parametrizations.weight.original1: i c 3; "
        "net.blocks.1.0.two.0.bias: c; "
        "net.blocks.1.0.two.0.parametrizations.weight.original0: c 1 1; "
        "net.blocks.1.0.two.0.parametrizations.weight.original1: c h 3; "
        "net.blocks.1.0.two.1.bias: c; "
        "net.blocks.1.0.two.1.parametrizations.weight.original0: c 1 1; "
        "net.blocks.1.0.two.1.parametrizations.weight.original1: c i 3; "
        "net.blocks.1.1.one.0.bias: j; "
        "net.blocks.1.1.one.0.parametrizations.weight.original0: j 1 1; "
        "net.blocks.1.1.one.0.parametrizations.weight.original1: j c 3; "
        "net.blocks.1.1.one.1.bias: k; "
        "net.blocks.1.1.one.1.parametrizations.weight.original0: k 1 1; "
        "net.blocks.1.1.one.1.parametrizations.weight.original1: k c 3; "
        "net.blocks.1.1.two.0.bias: c; "
        "net.blocks.1.1.two.0.parametrizations.weight.original0: c 1 1; "
        "net.blocks.1.1.two.0.parametrizations.weight.original1: c j 3; "
        "net.blocks.1.1.two.1.bias: c; "
        "net.blocks.1.1.two.1.parametrizations.weight.original0: c 1 1; "
        "net.blocks.1.1.two.1.parametrizations.weight.original1: c k 3; "
        "net.post.parametrizations.weight.original1: 1 c 3"
    ),
    "HiFi-GAN's discriminator of a period, weight norm by parametrisation": (
        "net.convs.0.bias: a; net.convs.0.parametrizations.weight.original0: a 1 1 1; "
        "net.convs.0.parametrizations.weight.original1: a 1 3 1; net.convs.1.bias: b; "
        "net.convs.1.parametrizations.weight.original0: b 1 1 1; "
        "net.convs.1.parametrizations.weight.original1: b a 3 1; net.convs.2.bias: c; "
        "net.convs.2.parametrizations.weight.original0: c 1 1 1; "
        "net.convs.2.parametrizations.weight.original1: c b 3 1; "
        "net.post.parametrizations.weight.original1: 1 c 3 1"
    ),
    "a WaveNet, weight norm by parametrisation": (
        "net.pre.bias: a; net.pre.parametrizations.weight.original0: a 1 1; "
        "net.pre.parametrizations.weight.original1: a 1 3; net.gates.0.bias: (b + b); "
        "net.gates.0.parametrizations.weight.original0: (b + b) 1 1; "
        "net.gates.0.parametrizations.weight.original1: (b + b) a 3; net.gates.1.bias: (c + c); "
        "net.gates.1.parametrizations.weight.original0: (c + c) 1 1; "
        "net.gates.1.parametrizations.weight.original1: (c + c) a 3; net.gates.2.bias: (d + d); "
        "net.gates.2.parametrizations.weight.original0: (d + d) 1 1; "
        "net.gates.2.parametrizations.weight.original1: (d + d) a 3; net.stay.0.bias: a; "
        "net.stay.0.parametrizations.weight.original0: a 1 1; "
        "net.stay.0.parametrizations.weight.original1: a b 1; net.stay.1.bias: a; "
        "net.stay.1.parametrizations.weight.original0: a 1 1; "
        "net.stay.1.parametrizations.weight.original1: a c 1; net.stay.2.bias: a; "
        "net.stay.2.parametrizations.weight.original0: a 1 1; "
        "net.stay.2.parametrizations.weight.original1: a d 1; net.skip.0.bias: e; "
        "net.skip.0.parametrizations.weight.original0: e 1 1; "
        "net.skip.0.parametrizations.weight.original1: e b 1; net.skip.1.bias: e; "
        "net.skip.1.parametrizations.weight.original0: e 1 1; "
        "net.skip.1.parametrizations.weight.original1: e c 1; net.skip.2.bias: e; "
        "net.skip.2.parametrizations.weight.original0: e 1 1; "
        "net.skip.2.parametrizations.weight.original1: e d 1; net.post.1.bias: f; "
        "net.post.1.parametrizations.weight.original0: f 1 1; "
        "net.post.1.parametrizations.weight.original1: f e 1; "
        "net.head.parametrizations.weight.original1: 3 f 1"
    ),
    "a codec with snakes, weight norm by parametrisation": (
        "net.pre.bias: a; net.pre.parametrizations.weight.original0: a 1 1; "
        "net.pre.parametrizations.weight.original1: a 1 3; net.encode.0.0.alpha: 1 a 1; "
        "net.encode.0.1.bias: b; net.encode.0.1.parametrizations.weight.original0: b 1 1; "
        "net.encode.0.1.parametrizations.weight.original1: b a 3; net.encode.0.2.alpha: 1 b 1; "
        "net.encode.0.3.bias: a; net.encode.0.3.parametrizations.weight.original0: a 1 1; "
        "net.encode.0.3.parametrizations.weight.original1: a b 1; net.encode.1.0.alpha: 1 a 1; "
        "net.encode.1.1.bias: c; net.encode.1.1.parametrizations.weight.original0: c 1 1; "
        "net.encode.1.1.parametrizations.weight.original1: c a 3; net.encode.1.2.alpha: 1 c 1; "
        "net.encode.1.3.bias: a; net.encode.1.3.parametrizations.weight.original0: a 1 1; "
        "net.encode.1.3.parametrizations.weight.original1: a c 1; net.down.0.alpha: 1 a 1; "
        "net.down.1.bias: d; net.down.1.parametrizations.weight.original0: d 1 1; "
        "net.down.1.parametrizations.weight.original1: d a 4; net.code.bias: e; "
        "net.code.parametrizations.weight.original0: e 1 1; "
        "net.code.parametrizations.weight.original1: e d 1; net.up.0.alpha: 1 e 1; "
        "net.up.1.bias: f; net.up.1.parametrizations.weight.original0: e 1 1; "
        "net.up.1.parametrizations.weight.original1: e f 4; net.decode.0.0.alpha: 1 f 1; "
        "net.decode.0.1.bias: g; net.decode.0.1.parametrizations.weight.original0: g 1 1; "
        "net.decode.0.1.parametrizations.weight.original1: g f 3; net.decode.0.2.alpha: 1 g 1; "
        "net.decode.0.3.bias: f; net.decode.0.3.parametrizations.weight.original0: f 1 1; "
        "net.decode.0.3.parametrizations.weight.original1: f g 1; net.decode.1.0.alpha: 1 f 1; "
        "net.decode.1.1.bias: h; net.decode.1.1.parametrizations.weight.original0: h 1 1; "
        "net.decode.1.1.parametrizations.weight.original1: h f 3; net.decode.1.2.alpha: 1 h 1; "
        "net.decode.1.3.bias: f; net.decode.1.3.parametrizations.weight.original0: f 1 1; "
        "net.decode.1.3.parametrizations.weight.original1: f h 1; net.post.0.alpha: 1 f 1; "
        "net.post.1.parametrizations.weight.original1: 1 f 3"
    ),
    "HiFi-GAN's discriminators of several scales, norms by the old hook": (
        "net.scales.0.0.bias: (a b); net.scales.0.0.weight_orig: (a b) 1 5; "
        "net.scales.0.2.bias: (a c); net.scales.0.2.weight_orig: (a c) b 5; "
        "net.scales.0.4.bias: (a d); net.scales.0.4.weight_orig: (a d) c 5; "
        "net.scales.0.6.weight_orig: 1 (a d) 3; net.scales.1.0.bias: (e f); "
        "net.scales.1.0.weight_g: (e f) 1 1; net.scales.1.0.weight_v: (e f) 1 5; "
        "net.scales.1.2.bias: (e g); net.scales.1.2.weight_g: (e g) 1 1; "
        "net.scales.1.2.weight_v: (e g) f 5; net.scales.1.4.bias: (e h); "
        "net.scales.1.4.weight_g: (e h) 1 1; net.scales.1.4.weight_v: (e h) g 5; "
        "net.scales.1.6.weight_v: 1 (e h) 3; net.scales.0.0.weight_u: (a b); "
        "net.scales.0.2.weight_u: (a c); net.scales.0.2.weight_v: (b 5); "
        "net.scales.0.4.weight_u: (a d); net.scales.0.4.weight_v: (c 5); "
        "net.scales.0.6.weight_v: (a d 3)"
    ),
    "HiFi-GAN's discriminators of several scales, norms by parametrisation": (
        "net.scales.0.0.bias: (a b); net.scales.0.0.parametrizations.weight.original: (a b) 1 5; "
        "net.scales.0.2.bias: (a c); net.scales.0.2.parametrizations.weight.original: (a c) b 5; "
        "net.scales.0.4.bias: (a d); net.scales.0.4.parametrizations.weight.original: (a d) c 5; "
        "net.scales.0.6.parametrizations.weight.original: 1 (a d) 3; net.scales.1.0.bias: (e f); "
        "net.scales.1.0.parametrizations.weight.original0: (e f) 1 1; "
        "net.scales.1.0.parametrizations.weight.original1: (e f) 1 5; net.scales.1.2.bias: (e g); "
        "net.scales.1.2.parametrizations.weight.original0: (e g) 1 1; "
        "net.scales.1.2.parametrizations.weight.original1: (e g) f 5; net.scales.1.4.bias: (e h); "
        "net.scales.1.4.parametrizations.weight.original0: (e h) 1 1; "
        "net.scales.1.4.parametrizations.weight.original1: (e h) g 5; "
        "net.scales.1.6.parametrizations.weight.original1: 1 (e h) 3; "
        "net.scales.0.0.parametrizations.weight.0._u: (a b); "
        "net.scales.0.2.parametrizations.weight.0._u: (a c); "
        "net.scales.0.2.parametrizations.weight.0._v: (b 5); "
        "net.scales.0.4.parametrizations.weight.0._u: (a d); "
        "net.scales.0.4.parametrizations.weight.0._v: (c 5); "
        "net.scales.0.6.parametrizations.weight.0._v: (a d 3)"
    ),
}


def _infinite(operator: str) -> str:
    return f"{operator} of a zeroed unit, not finite, in {operator}"


SUMMED = "a sum over it, where it is not zero when zeroed, in sum"
ACCUMULATED = "a running sum over it, where it is not zero when zeroed, in cumsum"
WHYS = {
    "reciprocal between convolutions": _infinite("reciprocal"),
    "reciprocal square root between convolutions": _infinite("rsqrt"),
    "log of the absolute value between convolutions": _infinite("log"),
    "division by itself between convolutions": _infinite("div"),
    "x log x by hand between convolutions": _infinite("log"),
    "negative power between convolutions": _infinite("pow"),
    "logit of the absolute value between convolutions": _infinite("logit"),
    "sigmoid, then a sum over channels": SUMMED,
    "exp, then a sum over channels": SUMMED,
    "softplus, then a sum over channels": SUMMED,
    "cosine, then a sum over channels": SUMMED,
    "log of a sigmoid, then a sum over channels": SUMMED,
    "logsigmoid, then a sum over channels": SUMMED,
    "hardsigmoid, then a sum over channels": SUMMED,
    "a constant added, then a sum over channels": SUMMED,
    "clamp from 0.1, then a sum over channels": SUMMED,
    "power of zero, then a sum over channels": SUMMED,
    "reciprocal of one more, then a sum over channels": SUMMED,
    "ones by where, then a sum over channels": SUMMED,
    "masked_fill with two, then a sum over channels": SUMMED,
    "a comparison, then a sum over channels": SUMMED,
    "threshold to three, then a sum over channels": SUMMED,
    "arc cosine of tanh, then a sum over channels": SUMMED,
    "reciprocal, then a sum over channels": _infinite("reciprocal"),
    "reciprocal square root, then a sum over channels": _infinite("rsqrt"),
    "log of the absolute value, then a sum over channels": _infinite("log"),
    "division by itself, then a sum over channels": _infinite("div"),
    "x log x by hand, then a sum over channels": _infinite("log"),
    "negative power, then a sum over channels": _infinite("pow"),
    "logit of the absolute value, then a sum over channels": _infinite("logit"),
    "mean over channels": "a mean over it in mean",
    "maximum over channels": "a max over it in max",
    "amax over channels": "an amax over it in amax",
    "minimum over channels": "a min over it in min",
    "variance over channels": "a var over it in var",
    "standard deviation over channels": "a std_mean over it in std_mean",
    "product over channels": "a prod over it in prod",
    "logsumexp over channels": "a logsumexp over it in logsumexp",
    "median over channels": "a median over it in median",
    "sum of a mean and a sum over channels": "a mean over it in mean",
    "all over channels": "an all over it in all",
    "sum of exponentials over channels": SUMMED,
    "mean by a division over channels": "its size is used as a number in div",
    "softmax along channels": "a softmax over it in softmax",
    "softmax by its layer along channels": "a softmax over it in softmax",
    "softmax2d along channels": "a softmax over it in softmax",
    "log softmax along channels": "a log_softmax over it in log_softmax",
    "softmax by hand along channels": SUMMED,
    "cumprod along channels": "a cumprod over it in cumprod",
    "cummax along channels": "a cummax over it in cummax",
    "logcumsumexp along channels": "a logcumsumexp over it in logcumsumexp",
    "cumsum of sigmoids along channels": ACCUMULATED,
    "cumsum of a cumsum along channels": ACCUMULATED,
    "difference to the mean along channels": "a mean over it in mean",
    "division by the mean along channels": "a mean over it in mean",
    "comparison with the maximum along channels": "an amax over it in amax",
}
