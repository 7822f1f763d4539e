"""A model as ONNX: normalisation, head and temperature inside, outputs and embeddings out."""

import copy
import io
import json
import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from core.files import file_sha256, write_atomically
from models.network.network import Network

FILE = "model.onnx"
NOTE = "model.json"  # beside it: its SHA-256, and what it was made of and with
OPSET = 17  # of ONNX, which every runtime that we name reads
MOST = 5  # exports that stay: as large as the weights of the models
OUTPUTS = ("outputs", "embeddings")


class _Served(nn.Module):
    """What a service needs of a network: the outputs with the temperature, and the embeddings."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embeddings = self.network.embed(images.float())
        return self.network.outputs(embeddings), embeddings


def export(network: Network, image_size: int, folder: Path, *, digest: str) -> Path:
    """The network as an ONNX file in `folder`, for batches of any size.

    Made where it is missing, damaged, of another model or of another torch; whoever else makes it
    at the same time makes the same. `digest` names the model.
    """
    path = folder / FILE
    made_of = {"model": digest, "torch": str(torch.__version__), "opset": OPSET}
    if _is_sound(path, folder / NOTE, made_of):
        return path
    import onnx

    content = _onnx(network, image_size)
    onnx.checker.check_model(content)
    sha256 = write_atomically(path, content)
    write_atomically(folder / NOTE, json.dumps({**made_of, "sha256": sha256}, indent=1).encode())
    return path


def forget_exports(home: Path, *, most: int = MOST) -> None:
    """Remove the files of all but the newest exports below `home`; they are made anew when needed.

    The choices stay, and whoever has a file open goes on reading it.
    """
    made = sorted(home.glob(f"*/{FILE}"), key=lambda path: path.stat().st_mtime_ns)
    for path in made[:-most]:
        path.unlink(missing_ok=True)


def _is_sound(path: Path, note: Path, made_of: dict[str, object]) -> bool:
    try:
        written = json.loads(note.read_bytes())
        return bool(written == {**made_of, "sha256": file_sha256(path)})
    except (OSError, ValueError):
        return False


def _onnx(network: Network, image_size: int) -> bytes:
    """The file's bytes; a network that ONNX has no words for is an error that says which part.

    The exporter puts its model in training mode for a moment, so that it gets a copy.
    """
    served = _Served(copy.deepcopy(network)).eval()
    images = torch.zeros(2, 3, image_size, image_size, dtype=torch.uint8)
    file = io.BytesIO()
    verbose = logging.getLogger("torch.onnx")
    level = verbose.level
    verbose.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # on what is constant in it: the size of the images is
            torch.onnx.export(
                served,
                (images,),
                cast(Any, file),  # taken, though only paths are declared
                dynamo=False,  # seconds; the other exporter takes a minute for the same numbers
                opset_version=OPSET,
                input_names=["images"],
                output_names=list(OUTPUTS),
                dynamic_axes={name: {0: "n"} for name in ("images", *OUTPUTS)},
            )
    except Exception as error:  # a dozen types, with the whole graph in their texts
        cause = str(error).strip().splitlines()[0][:160] if str(error) else type(error).__name__
        raise ValueError(f"it cannot be written as ONNX ({cause})") from error
    finally:
        verbose.setLevel(level)
    return file.getvalue()
