"""The same model served by LitServe: batches of up to 16, eager torch, one worker.

The class stands in a module of its own because LitServe pickles it for a process that it spawns.
"""

import sys
from typing import Any, cast

import litserve
import torch
from fastapi import Request

from benchmarks.servers.model import answer_of, champion, decoded


class Api(litserve.LitAPI):  # type: ignore[misc, name-defined, unused-ignore]
    """The champion behind LitServe."""

    def setup(self, device: str) -> None:
        self.network = champion().network.eval()

    def decode_request(self, request: Request) -> Any:
        # A form arrives as its fields, which is no Request; LitServe reads what is annotated.
        return decoded(cast(dict[str, Any], request)["image"].file.read())

    def batch(self, inputs: Any) -> Any:
        return torch.cat(inputs)

    def predict(self, images: Any) -> Any:
        with torch.inference_mode():
            return self.network(images).softmax(1)

    def unbatch(self, output: Any) -> Any:
        return list(output)

    def encode_response(self, output: Any) -> Any:
        return answer_of(output.tolist())


if __name__ == "__main__":
    api = Api(max_batch_size=16, batch_timeout=0.005)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False
    )
