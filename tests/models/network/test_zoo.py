"""What importing torchvision takes, and that its operators work all the same."""

import subprocess
import sys

from tests.source_code import ROOT

SCRIPT = """
import sys, torch
from models.network.network import backbones
compiler = "torch._dynamo"
assert backbones()
print([name for name in sys.modules if name.startswith(compiler)])
from torchvision.ops import roi_align
boxes = [torch.tensor([[0.0, 0.0, 3.0, 3.0]])]
print(roi_align(torch.ones(1, 1, 4, 4), boxes, output_size=1).item())
roi_align.__globals__["is_compile_supported"]("cpu")
print(compiler in sys.modules, callable(sys.modules["torch._dynamo.utils"].is_compile_supported))
"""


def test_the_compiler_is_imported_when_it_is_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["[]", "1.0", "True True"], done.stderr
