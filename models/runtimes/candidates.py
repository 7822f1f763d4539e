"""Each runtime by its name: what it needs, and how it is loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from models.network.network import Network
from models.network.precision import Precision, computes_bf16
from models.runtimes.choice import ADVICE, EAGER
from models.runtimes.runtime import Runtime, Torch, TorchVariant


@dataclass(frozen=True)
class Source:
    """A model as runtimes take it: the network, or a file that it is exported to when needed."""

    network: Network
    version: str
    threads: int
    export: Callable[[], Path]  # raises ValueError or OSError when it cannot be made


@dataclass(frozen=True)
class Candidate:
    """A runtime that may serve a model."""

    family: str  # of HONE_RUNTIME: "torch", "onnxruntime" or "openvino"
    load: Callable[[Source], Runtime]
    packages: tuple[str, ...] = ()  # that must be installed
    bf16: bool = False  # half the bits: close to the reference, not equal to it but for rounding

    def missing(self) -> str | None:
        """Why it cannot be used on this machine; None when it can."""
        if self.bf16 and not computes_bf16():
            return "this processor has no bf16 instructions"
        absent = [package for package in self.packages if find_spec(package) is None]
        if absent:
            return f"{' and '.join(absent)} not installed: {ADVICE}"
        return None


def _variant(name: str, *, bf16: bool) -> Callable[[Source], Runtime]:
    precision = Precision(bf16=bf16, channels_last=True)
    return lambda source: TorchVariant(name, source.network, precision, threads=source.threads)


def _onnxruntime(source: Source) -> Runtime:
    from models.runtimes.engines import OnnxRuntime

    return OnnxRuntime("onnxruntime", source.export(), threads=source.threads)


def _openvino(name: str, precision: str) -> Callable[[Source], Runtime]:
    def load(source: Source) -> Runtime:
        from models.runtimes.engines import OpenVino

        return OpenVino(name, source.export(), precision=precision, threads=source.threads)

    return load


CANDIDATES: dict[str, Candidate] = {
    EAGER: Candidate(
        "torch",
        lambda source: Torch(source.network, threads=source.threads, version=source.version),
    ),
    "torch channels_last": Candidate("torch", _variant("torch channels_last", bf16=False)),
    "torch bf16": Candidate("torch", _variant("torch bf16", bf16=True), bf16=True),
    "onnxruntime": Candidate("onnxruntime", _onnxruntime, ("onnx", "onnxruntime")),
    "openvino": Candidate("openvino", _openvino("openvino", "f32"), ("onnx", "openvino")),
    "openvino bf16": Candidate(
        "openvino", _openvino("openvino bf16", "bf16"), ("onnx", "openvino"), bf16=True
    ),
}
