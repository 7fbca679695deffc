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
    "XFeat": lambda: row(xfeat.XFeatModel(), x(1, 3, 32, 32)),
}
