"""Runtimes that compute an exported model: ONNX Runtime and OpenVINO.

Both compute with the given number of threads, send nothing to anybody, and leave a processor that
has nothing to do alone.
"""

import sys
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from models.runtimes.export import OUTPUTS
from models.scoring.predict import Predictions, refuse_broken


class OnnxRuntime:
    """ONNX Runtime in fp32."""

    def __init__(self, name: str, path: Path, *, threads: int) -> None:
        import onnxruntime

        self.name = self.key = name
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        # Waiting threads would turn in a loop: at one request a second a whole processor.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def predict(self, images: torch.Tensor) -> Predictions:
        """The predictions for uint8 images."""
        outputs, embeddings = self._session.run(list(OUTPUTS), {"images": _pixels(images)})
        return _checked(self.name, outputs, embeddings)


class OpenVino:
    """OpenVINO on the processor, in the given number format ("f32", "bf16").

    The format is always named: left to itself, OpenVINO computes in bf16 where there is AMX.
    """

    def __init__(self, name: str, path: Path, *, precision: str, threads: int) -> None:
        openvino = _import_openvino()
        self.name = self.key = name
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # workers would all be pinned to the same processor
        }
        self._model = openvino.Core().compile_model(str(path), "CPU", settings)
        self._requests = threading.local()  # one cannot serve two threads at once

    def predict(self, images: torch.Tensor) -> Predictions:
        """The predictions for uint8 images."""
        request = getattr(self._requests, "one", None)
        if request is None:
            request = self._requests.one = self._model.create_infer_request()
        results = request.infer({"images": _pixels(images)})
        outputs, embeddings = (np.array(results[name]) for name in OUTPUTS)
        return _checked(self.name, outputs, embeddings)


def _import_openvino() -> Any:
    """OpenVINO without its telemetry, which would report each import to its makers.

    Where the package for that is missing, OpenVINO has a stand-in of its own that does nothing.
    """
    cast(dict[str, Any], sys.modules).setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def _pixels(images: torch.Tensor) -> np.ndarray:
    return images.contiguous().numpy()


def _checked(name: str, outputs: Any, embeddings: Any) -> Predictions:
    rows = Predictions(np.asarray(outputs, np.float32), np.asarray(embeddings, np.float32))
    refuse_broken(name, rows, 0)
    return rows
