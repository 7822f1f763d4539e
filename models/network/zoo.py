"""torchvision's models, without the compiler of torch: a second of each process, used by nobody.

`torchvision.ops.roi_align` imports a function of `torch._dynamo`, which imports the whole compiler
(with sympy and triton). The function says whether a kernel for object detection may be compiled; it
is imported here when it is called.
"""

import sys
from types import ModuleType

COMPILER = "torch._dynamo.utils"


def import_zoo() -> ModuleType:
    """`torchvision.models`, imported so that it imports no compiler."""
    if COMPILER in sys.modules:
        from torchvision import models
    else:
        sys.modules[COMPILER] = _stand_in()
        try:
            from torchvision import models
        finally:
            del sys.modules[COMPILER]
    return models


def _stand_in() -> ModuleType:
    """A module with the one function, which imports the real one when it is called."""

    def is_compile_supported(device_type: str) -> bool:
        from torch._dynamo.utils import is_compile_supported as real

        return bool(real(device_type))

    module = ModuleType(COMPILER)
    vars(module)["is_compile_supported"] = is_compile_supported
    return module
