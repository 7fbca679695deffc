"""kornia: features, matching and small networks of vision."""

from __future__ import annotations

import torch

from libraries import Call, Lazy, Models, row, x

feature = Lazy("kornia.feature")
models = Lazy("kornia.models")
disk = Lazy("kornia.feature.disk._unets.unet")
xfeat = Lazy("kornia.feature.xfeat")
sold = Lazy("kornia.feature.sold2.backbones")
dino = Lazy("kornia.feature.dedode.transformer.dinov2")
efficient = Lazy("kornia.models.efficient_vit.backbone")
tiny = Lazy("kornia.models.tiny_vit")
vit = Lazy("kornia.models.vit")
mobile = Lazy("kornia.models.vit_mobile")
rrdb = Lazy("kornia.models.rrdbnet")
sr = Lazy("kornia.models.small_sr")
dexined = Lazy("kornia.models.dexined")
yunet = Lazy("kornia.models.yunet.model")
glue = Lazy("kornia.feature.lightglue")


def keypoints(seed: int, width: int = 256) -> dict[str, torch.Tensor]:
    """Eight keypoints of an image, with descriptors."""
    return {
        "keypoints": x(1, 8, 2, low=0.0) * (20 + seed),
        "descriptors": x(1, 8, width + seed)[..., :width],
        "image_size": torch.tensor([[32.0, 32.0]]),
    }


MODELS: Models = {
    "KeyNet": lambda: row(feature.KeyNet(pretrained=False), x(1, 1, 48, 48, low=0.0)),
    "LightGlue": lambda: row(
        Call(
            glue.LightGlue(
                None,
                weights=None,
                input_dim=24,
                descriptor_dim=16,
                num_heads=2,
                n_layers=1,
                depth_confidence=-1,
                width_confidence=-1,
                flash=False,
                filter_threshold=0.0,
            ),
            "forward",
            lambda y: y["matching_scores0"],
        ),
        {"image0": keypoints(0, 24), "image1": keypoints(1, 24)},
    ),
    "HardNet": lambda: row(feature.HardNet(pretrained=False), x(2, 1, 32, 32)),
    "HardNet8": lambda: row(feature.HardNet8(pretrained=False), x(2, 1, 32, 32)),
    "HyNet": lambda: row(feature.HyNet(pretrained=False), x(2, 1, 32, 32)),
    "SOSNet": lambda: row(feature.SOSNet(pretrained=False), x(2, 1, 32, 32)),
    "TFeat": lambda: row(feature.TFeat(pretrained=False), x(2, 1, 32, 32)),
    "OriNet": lambda: row(Call(feature.OriNet(pretrained=False), "features"), x(2, 1, 32, 32)),
    "XFeat": lambda: row(xfeat.XFeatModel(), x(1, 3, 32, 32)),
    "SOLD2, hourglass": lambda: row(
        sold.HourglassBackbone(input_channel=1, depth=2, num_stacks=1), x(1, 1, 32, 32)
    ),
    "DINOv2": lambda: row(
        Call(
            dino.DinoVisionTransformer(
                img_size=28, patch_size=14, embed_dim=24, depth=2, num_heads=4
            ),
            "forward_features",
            lambda y: y["x_norm_clstoken"],
        ),
        x(1, 3, 28, 28),
    ),
    "EfficientViT": lambda: row(
        Call(
            efficient.EfficientViTBackbone([8, 8, 16, 16, 24], [1, 1, 1, 1, 1], dim=8),
            "forward",
            lambda y: y["stage_final"],
        ),
        x(1, 3, 64, 64),
    ),
    "TinyViT": lambda: row(
        tiny.TinyViT(
            img_size=32,
            num_classes=5,
            embed_dims=(8, 12, 16, 24),
            depths=(1, 1, 1, 1),
            num_heads=(1, 2, 4, 4),
            window_sizes=(4, 4, 2, 1),
        ),
        x(1, 3, 32, 32),
    ),
    "VisionTransformer": lambda: row(
        vit.VisionTransformer(image_size=16, patch_size=8, embed_dim=24, depth=2, num_heads=4),
        x(1, 3, 16, 16),
    ),
    "MobileViT": lambda: row(mobile.MobileViT(mode="xxs"), x(1, 3, 64, 64)),
    "RRDBNet": lambda: row(
        rrdb.RRDBNet(3, 3, scale=2, num_feat=8, num_block=1, num_grow_ch=4), x(1, 3, 16, 16)
    ),
    "SmallSRNet": lambda: row(sr.SmallSRNet(2, pretrained=False), x(1, 1, 16, 16)),
    "DexiNed": lambda: row(
        Call(dexined.DexiNed(pretrained=False), "forward", lambda y: y[-1]), x(1, 3, 32, 32)
    ),
}
