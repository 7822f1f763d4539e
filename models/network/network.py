"""A backbone, of torchvision or EfficientNet-Lite0, and the head of a label kind."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.overrides import TorchFunctionMode

from core.configuration import OneOf, configuration
from models.kinds import DEFAULT, KINDS, Kind
from models.network import lite0
from models.network.images import MEAN, STD
from models.network.weights import LITE0, backbones, lite0_weights, zoo

SMALL = 64  # pixels; below, a stem made for 224 leaves few cells of the image or none
# The first strided convolution and the pool after it can be replaced in these; the others (vit,
# swin, convnext, maxvit, vgg, alexnet) cut the image into patches of a fixed size.
SMALL_STEMS = (
    "resnet", "resnext", "wide_resnet", "densenet", "efficientnet", "mnasnet", "mobilenet",
    "regnet", "shufflenet", "squeezenet",
)  # fmt: skip

DRAWS = (torch.Tensor.normal_, torch.Tensor.uniform_)  # what torchvision's networks draw by


@configuration("network")
class NetworkConfig:
    """The architecture of a network and the weights that its training starts from."""

    backbone: Annotated[str, OneOf(backbones())] = Field(  # the best-known baseline
        default="resnet18", description=f"a torchvision classification model, or {LITE0}"
    )
    weights: str | None = Field(
        default=None,
        min_length=1,
        description='from scratch when empty, "default" for the published ones, or a weights file',
    )
    small_stem: bool | None = Field(
        default=None,
        description="keep the resolution of small images; default: under 64 px, where there is one",
    )

    @model_validator(mode="after")
    def _check_stem(self) -> Self:
        if self.small_stem and not self.backbone.startswith(SMALL_STEMS):
            raise ValueError(
                f"small_stem is True with {self.backbone}; it is available for "
                f"{', '.join(SMALL_STEMS)}: leave it None or choose one of them"
            )
        return self

    def has_small_stem(self, image_size: int) -> bool:
        """Whether images of this size get the small stem."""
        if self.small_stem is None:
            return image_size < SMALL and self.backbone.startswith(SMALL_STEMS)
        return self.small_stem


class Network(nn.Module):
    """Pixels from 0 to 255 -> the head's output. Normalising the pixels is part of it.

    `temperature` makes the outputs calibrated (models.training.temperature); 1 changes nothing.
    """

    mean: torch.Tensor
    std: torch.Tensor
    temperature: torch.Tensor

    def __init__(
        self, backbone: nn.Module, width: int, classes: int, kind: Kind = KINDS[DEFAULT]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = kind.head(width, classes)
        self.width, self.classes, self.kind = width, classes, kind
        self.register_buffer("mean", torch.empty(1, 3, 1, 1))
        self.register_buffer("std", torch.empty(1, 3, 1, 1))
        self.normalise(MEAN, STD)
        self.register_buffer("temperature", torch.ones(()))

    def normalise(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set the mean and standard deviation of each channel, in units of 255."""
        self.mean = torch.tensor(mean).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(std).view(1, 3, 1, 1) * 255

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """The embeddings of uint8 or float images [n, 3, s, s]: one row for each."""
        return self.backbone((images - self.mean) / self.std)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The head's output: for a classifier the logits of each class."""
        return self.head(self.embed(images))

    def outputs(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The outputs that are stored and served, in fp32 in every precision of the backbone.

        The temperature is applied here and nowhere else.
        """
        raw = self.head(embeddings.float())
        return self.kind.outputs(self.kind.scaled(raw, self.temperature))

    @property
    def output_width(self) -> int:
        """The number of outputs of an image."""
        return self.kind.output_width(self.classes)


def build(
    config: NetworkConfig, *, classes: int, image_size: int, kind: Kind = KINDS[DEFAULT]
) -> Network:
    """A network for images of this size, its new parts drawn from torch's random state."""
    backbone, head = _backbone(config, image_size)
    if config.has_small_stem(image_size):
        _open_stem(backbone)
    if config.weights == "default" and config.backbone == LITE0:
        _load_weights(backbone, lite0_weights().file, head)
    elif config.weights not in (None, "default"):
        _load_weights(backbone, Path(str(config.weights)), head)
    width = _width(backbone, config, image_size)
    network = Network(backbone, width, classes, kind)
    if config.backbone == LITE0:
        network.normalise(lite0.MEAN, lite0.STD)
    return network


class NoRandomWeights(TorchFunctionMode):
    """Where a network is built for weights that are at hand: none are drawn at random before.

    Drawing those of a resnet18 takes as long as reading and checking its file.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Zeros in place of what would be drawn; left as it is, torch could draw it forever."""
        kwargs = kwargs or {}
        if func in DRAWS or getattr(func, "__module__", None) == nn.init.__name__:
            with torch.no_grad():
                return (args[0] if args else kwargs["tensor"]).zero_()
        return func(*args, **kwargs)


def load_state(network: nn.Module, state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Load `state`; missing and unknown names, other shapes and non-finite values are refused."""
    expected = network.state_dict()
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    optional.add("temperature")  # older versions stored none
    problems = {
        "missing": sorted(set(expected) - set(state) - optional),
        "unknown": sorted(set(state) - set(expected)),
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(part.shape)}"
            for name, part in expected.items()
            if name in state and state[name].shape != part.shape
        ],
        "not finite": [name for name, part in state.items() if not torch.isfinite(part).all()],
    }
    misfits = [f"{what}: {_few(names)}" for what, names in problems.items() if names]
    if misfits:
        raise ValueError(
            f"{source} does not fit the network ({'; '.join(misfits)}); "
            "choose weights of the same backbone, stem and classes"
        )
    put_weights(network, state, strict=False)


def put_weights(
    part: nn.Module, weights: Mapping[str, torch.Tensor], *, strict: bool = True
) -> None:
    """Load weights that are of the layers of this torchvision: MNASNet asks for their version."""
    state = OrderedDict(weights)
    state._metadata = part.state_dict()._metadata  # type: ignore[attr-defined]
    part.load_state_dict(state, strict=strict)


def _from_zoo(config: NetworkConfig, image_size: int) -> nn.Module:
    named: Any = zoo.get_model_weights(config.backbone)
    weights = named.DEFAULT if config.weights == "default" else None
    extra: dict[str, int | tuple[int, int]] = {}
    if config.backbone.startswith("vit") and weights is None:
        extra["image_size"] = image_size  # the others derive the size from their input
    if config.backbone.startswith("maxvit") and weights is None:
        extra["input_size"] = (image_size, image_size)
    try:
        return zoo.get_model(config.backbone, weights=weights, **extra)
    except OSError as error:
        address = weights.url if weights else ""
        raise ValueError(
            f"torchvision's weights of {config.backbone} could not be fetched ({error}); download "
            f"{address} elsewhere and give the file as weights, or train from None"
        ) from error
    except (ValueError, AssertionError) as error:
        raise _unfit(config, image_size, error) from error


def _backbone(config: NetworkConfig, image_size: int) -> tuple[nn.Module, str]:
    """The backbone, and the name that its classifier has in published weights."""
    if config.backbone == LITE0:
        return lite0.Lite0(), lite0.CLASSIFIER
    return _headless(_from_zoo(config, image_size))


def _headless(model: nn.Module) -> tuple[nn.Module, str]:
    """The model without its classifier, and the name of the removed classifier."""
    if isinstance(model, zoo.SqueezeNet):
        model.classifier = nn.AdaptiveAvgPool2d(1)
        return model, "classifier"
    last = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)][-1]
    model.set_submodule(last, nn.Identity())
    return model, last


def _open_stem(backbone: nn.Module) -> None:
    """Give the first convolution stride 1 and remove the pool after it.

    A kernel wider than 3 is made for 224 px and is replaced by a new one of 3x3.
    """
    parts = dict(backbone.named_modules())
    name, first = next((name, part) for name, part in parts.items() if isinstance(part, nn.Conv2d))
    if first.kernel_size[0] > 3:
        opened = nn.Conv2d(3, first.out_channels, 3, padding=1, bias=first.bias is not None)
        backbone.set_submodule(name, opened)
    else:
        first.stride = (1, 1)
    pool = next((name for name, part in parts.items() if isinstance(part, nn.MaxPool2d)), None)
    if pool is not None:
        backbone.set_submodule(pool, nn.Identity())


def _width(backbone: nn.Module, config: NetworkConfig, image_size: int) -> int:
    """The length of an embedding, from one black image, which also tries the image size."""
    backbone.eval()
    try:
        with torch.inference_mode():
            embedding = backbone(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise _unfit(config, image_size, error) from error
    backbone.train()
    return int(embedding.shape[1])


def _unfit(config: NetworkConfig, image_size: int, error: Exception) -> ValueError:
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(
        f"{config.backbone} does not take images of {image_size} px ({cause}); choose another "
        f"image_size, or a backbone with a small stem: {', '.join(SMALL_STEMS)}"
    )


def _load_weights(backbone: nn.Module, path: Path, head: str) -> None:
    """Load the backbone's weights from a file of torchvision's or of ours, without its head."""
    state = _read_state(path)
    if isinstance(backbone, lite0.Lite0):
        state = lite0.own_names(state)
    ours = {
        name.removeprefix("backbone."): part
        for name, part in state.items()
        if name.startswith("backbone.")
    }
    theirs = {name: part for name, part in state.items() if not name.startswith(f"{head}.")}
    load_state(backbone, ours or theirs, source=str(path))


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weights file by name, read without running any code in it."""
    if not path.is_file():
        raise ValueError(
            f"weights is {str(path)!r}: no such file; choose None, 'default' or a file"
        )
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is no whole safetensors file: {error}") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes it raise a dozen types
        raise ValueError(f"{path} is not a plain state_dict and was not loaded: {error}") from error
    if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
        raise ValueError(f"{path} holds no state_dict (tensors by name); save model.state_dict()")
    return dict(state)


def _few(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
