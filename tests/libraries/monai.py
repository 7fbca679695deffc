"""MONAI: networks for medical images, most of them volumes."""

from __future__ import annotations

from libraries import Call, Lazy, Models, ids, row, x

nets = Lazy("monai.networks.nets")
restormer = Lazy("monai.networks.nets.restormer")
IO = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
FLAT = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
DIFFUSION = {
    "channels": (8, 16),
    "attention_levels": (False, True),
    "num_res_blocks": 1,
    "norm_num_groups": 4,
}

MODELS: Models = {
    "AttentionUnet": lambda: row(
        nets.AttentionUnet(**FLAT, channels=(8, 16, 32), strides=(2, 2)), x(2, 1, 32, 32)
    ),
    "AutoEncoder": lambda: row(
        nets.AutoEncoder(**FLAT, channels=(8, 16, 32), strides=(2, 2, 2)), x(2, 1, 32, 32)
    ),
    "AutoencoderKL": lambda: row(
        nets.AutoencoderKL(**FLAT, latent_channels=3, **DIFFUSION), x(1, 1, 16, 16)
    ),
    "BasicUNet": lambda: row(
        nets.BasicUNet(**FLAT, features=(8, 8, 16, 16, 32, 8)), x(2, 1, 32, 32)
    ),
    "BasicUNetPlusPlus": lambda: row(
        nets.BasicUNetPlusPlus(**FLAT, features=(8, 8, 16, 16, 32, 8)), x(2, 1, 32, 32)
    ),
    "Classifier": lambda: row(
        nets.Classifier(in_shape=(1, 16, 16), classes=3, channels=(8, 16), strides=(2, 2)),
        x(2, 1, 16, 16),
    ),
    "ControlNet": lambda: row(
        nets.ControlNet(
            spatial_dims=2,
            in_channels=1,
            conditioning_embedding_num_channels=(8,),
            conditioning_embedding_in_channels=1,
            **DIFFUSION,
        ),
        x(1, 1, 16, 16),
        ids(1),
        x(1, 1, 16, 16),
    ),
    "Critic": lambda: row(
        nets.Critic(in_shape=(1, 16, 16), channels=(8, 16), strides=(2, 2)), x(2, 1, 16, 16)
    ),
    "DAF3D": lambda: row(nets.DAF3D(1, 2), x(1, 1, 32, 32, 32)),
    "DenseNet": lambda: row(
        nets.DenseNet(**FLAT, init_features=8, growth_rate=4, block_config=(2, 2)),
        x(2, 1, 32, 32),
    ),
    "DiffusionModelUNet": lambda: row(
        nets.DiffusionModelUNet(**FLAT, num_head_channels=8, **DIFFUSION), x(1, 1, 16, 16), ids(1)
    ),
    "DiffusionModelUNet, cross attention": lambda: row(
        nets.DiffusionModelUNet(
            **FLAT, num_head_channels=8, with_conditioning=True, cross_attention_dim=6, **DIFFUSION
        ),
        x(1, 1, 16, 16),
        ids(1),
        context=x(1, 3, 6),
    ),
    "DynUNet": lambda: row(
        nets.DynUNet(
            **FLAT,
            kernel_size=[3, 3, 3],
            strides=[1, 2, 2],
            upsample_kernel_size=[2, 2],
            filters=[8, 16, 32],
        ),
        x(1, 1, 32, 32),
    ),
    "DynUNet, residual": lambda: row(
        nets.DynUNet(
            **FLAT,
            kernel_size=[3, 3, 3],
            strides=[1, 2, 2],
            upsample_kernel_size=[2, 2],
            filters=[8, 16, 32],
            res_block=True,
        ),
        x(1, 1, 32, 32),
    ),
    "EfficientNetBN": lambda: row(
        nets.EfficientNetBN(
            "efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=1, num_classes=3
        ),
        x(1, 1, 32, 32),
    ),
    "FlexibleUNet": lambda: row(
        nets.FlexibleUNet(in_channels=1, out_channels=2, backbone="efficientnet-b0"),
        x(1, 1, 32, 32),
    ),
    "FlexibleUNet, resnet18": lambda: row(
        nets.FlexibleUNet(in_channels=1, out_channels=2, backbone="resnet18", spatial_dims=2),
        x(1, 1, 32, 32),
    ),
    "FullyConnectedNet": lambda: row(nets.FullyConnectedNet(6, 3, (16, 12)), x(2, 6)),
    "Generator": lambda: row(
        nets.Generator(latent_shape=(6,), start_shape=(8, 4, 4), channels=(8, 4), strides=(2, 2)),
        x(2, 6),
    ),
    "HighResNet": lambda: row(nets.HighResNet(**FLAT), x(1, 1, 24, 24)),
    "MILModel": lambda: row(
        nets.MILModel(num_classes=2, mil_mode="att", pretrained=False), x(1, 2, 3, 32, 32)
    ),
    "MaskedAutoEncoderViT": lambda: row(
        nets.MaskedAutoEncoderViT(
            1,
            (16, 16),
            (8, 8),
            hidden_size=32,
            mlp_dim=24,
            num_layers=2,
            num_heads=4,
            decoder_hidden_size=24,
            decoder_mlp_dim=20,
            decoder_num_layers=1,
            decoder_num_heads=4,
            spatial_dims=2,
        ),
        x(1, 1, 16, 16),
    ),
    "MedNeXt": lambda: row(
        nets.MedNeXt(**FLAT, init_filters=8, blocks_down=(1, 1), blocks_up=(1, 1)),
        x(1, 1, 32, 32),
    ),
    "MultiScalePatchDiscriminator": lambda: row(
        Call(
            nets.MultiScalePatchDiscriminator(2, 1, 2, 8, 1, minimum_size_im=16),
            "forward",
            lambda y: y[0],
        ),
        x(1, 1, 32, 32),
    ),
    "PatchDiscriminator": lambda: row(
        Call(nets.PatchDiscriminator(2, 8, 1, num_layers_d=2), "forward", lambda y: y[-1]),
        x(1, 1, 32, 32),
    ),
    "Quicknat": lambda: row(nets.Quicknat(num_classes=2, num_filters=8), x(1, 1, 32, 32)),
    "RegUNet": lambda: row(nets.RegUNet(2, 1, 8, depth=2, out_channels=2), x(1, 1, 32, 32)),
    "Regressor": lambda: row(
        nets.Regressor((1, 16, 16), (2,), channels=(8, 16), strides=(2, 2)), x(2, 1, 16, 16)
    ),
    "ResNet": lambda: row(
        nets.ResNet(
            "basic",
            [1, 1, 1, 1],
            [8, 16, 24, 32],
            spatial_dims=2,
            n_input_channels=1,
            num_classes=3,
        ),
        x(2, 1, 32, 32),
    ),
    "ResNet, shortcut A": lambda: row(
        nets.ResNet(
            "basic",
            [1, 1, 1, 1],
            [8, 16, 24, 32],
            spatial_dims=2,
            n_input_channels=1,
            num_classes=3,
            shortcut_type="A",
        ),
        x(2, 1, 32, 32),
    ),
    "Restormer": lambda: row(
        restormer.Restormer(
            2, 1, 1, dim=8, num_blocks=(1, 1), heads=(1, 2), num_refinement_blocks=1
        ),
        x(1, 1, 16, 16),
    ),
    "SEResNet50": lambda: row(
        nets.SEResNet50(spatial_dims=2, in_channels=1, num_classes=3), x(1, 1, 32, 32)
    ),
    "SegResNet": lambda: row(
        nets.SegResNet(2, 8, 1, 2, blocks_down=(1, 1, 1), blocks_up=(1, 1)), x(1, 1, 16, 16)
    ),
    "SegResNetDS": lambda: row(
        nets.SegResNetDS(2, 8, 1, 2, blocks_down=(1, 1, 1)), x(1, 1, 16, 16)
    ),
    "SegResNetVAE": lambda: row(
        nets.SegResNetVAE(
            (16, 16),
            spatial_dims=2,
            init_filters=8,
            in_channels=1,
            out_channels=2,
            blocks_down=(1, 1, 1),
            blocks_up=(1, 1),
            vae_estimate_std=False,
            vae_default_std=0.0,
        ),
        x(1, 1, 16, 16),
    ),
    "SPADEAutoencoderKL": lambda: row(
        nets.SPADEAutoencoderKL(
            2,
            3,
            in_channels=1,
            out_channels=1,
            latent_channels=3,
            spade_intermediate_channels=8,
            **DIFFUSION,
        ),
        x(1, 1, 16, 16),
        x(1, 3, 16, 16),
    ),
    "SPADENet": lambda: row(
        nets.SPADENet(2, 1, 1, 3, [16, 16], [8, 16], z_dim=6, is_vae=False), x(1, 3, 16, 16)
    ),
    "SwinUNETR": lambda: row(
        nets.SwinUNETR(1, 2, feature_size=12, depths=(1, 1, 1, 1), spatial_dims=2), x(1, 1, 64, 64)
    ),
    "SwinUNETR, v2": lambda: row(
        nets.SwinUNETR(1, 2, feature_size=12, depths=(1, 1, 1, 1), spatial_dims=2, use_v2=True),
        x(1, 1, 64, 64),
    ),
    "UNETR": lambda: row(
        nets.UNETR(
            1, 2, (32, 32), feature_size=8, hidden_size=24, mlp_dim=20, num_heads=4, spatial_dims=2
        ),
        x(1, 1, 32, 32),
    ),
    "UNet": lambda: row(nets.UNet(**FLAT, channels=(8, 16, 32), strides=(2, 2)), x(2, 1, 32, 32)),
    "UNet, residual": lambda: row(
        nets.UNet(**IO, channels=(8, 16, 32), strides=(2, 2), num_res_units=2), x(1, 1, 16, 16, 16)
    ),
    "VNet": lambda: row(nets.VNet(3, 1, 2), x(1, 1, 16, 16, 16)),
    "VQVAE": lambda: row(
        nets.VQVAE(
            2,
            1,
            1,
            channels=(8, 16),
            num_res_channels=(8, 16),
            num_res_layers=1,
            downsample_parameters=((2, 4, 1, 1), (2, 4, 1, 1)),
            upsample_parameters=((2, 4, 1, 1, 0), (2, 4, 1, 1, 0)),
            num_embeddings=8,
            embedding_dim=6,
        ),
        x(1, 1, 16, 16),
    ),
    "VarAutoEncoder": lambda: row(
        Call(
            nets.VarAutoEncoder(
                spatial_dims=2,
                in_shape=(1, 16, 16),
                out_channels=1,
                latent_size=6,
                channels=(8, 16),
                strides=(2, 2),
            ),
            "encode",
            lambda y: y[:2],
        ),
        x(2, 1, 16, 16),
    ),
    "ViT": lambda: row(
        nets.ViT(
            1,
            (16, 16),
            (8, 8),
            hidden_size=24,
            mlp_dim=20,
            num_layers=2,
            num_heads=4,
            classification=True,
            num_classes=3,
            spatial_dims=2,
        ),
        x(1, 1, 16, 16),
    ),
    "ViTAutoEnc": lambda: row(
        nets.ViTAutoEnc(
            1,
            (16, 16),
            (4, 4),
            hidden_size=24,
            mlp_dim=20,
            num_layers=2,
            num_heads=4,
            spatial_dims=2,
            deconv_chns=8,
        ),
        x(1, 1, 16, 16),
    ),
    "VoxelMorphUNet": lambda: row(
        nets.VoxelMorphUNet(
            spatial_dims=2,
            in_channels=2,
            channels=(8, 8, 12, 12, 8, 8),
            unet_out_channels=2,
            final_conv_channels=(8,),
        ),
        x(1, 2, 16, 16),
    ),
    "resnet18": lambda: row(
        nets.resnet18(spatial_dims=2, n_input_channels=1, num_classes=3), x(1, 1, 32, 32)
    ),
}
SINGLE = {"VQVAE": "vector_quantizer.py:116 takes float32"}
