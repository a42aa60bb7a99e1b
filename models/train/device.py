"""The device that computes the steps of a training, and how: bf16 products, compiled kernels."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

from models.train.recipe import RecipeError, Run

BACKEND = "inductor"  # of torch.compile
Function = TypeVar("Function", bound=Callable[..., object])

# A CPU without bf16 products emulates them: a step takes 20 times as long on a Zen 3 as in fp32.
_CAPABILITIES = torch.cpu.get_capabilities()
BF16_PRODUCTS = any(_CAPABILITIES.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last: Arm


class Device:
    """The device of a run.

    Attributes:
        torch: the device itself.
    """

    def __init__(self, run: Run) -> None:
        """Take the device that a recipe names.

        Raises:
            RecipeError: torch can't use it.
        """
        if run.device == "cuda" and not torch.cuda.is_available():
            raise RecipeError("run.device: torch finds no CUDA device here; take --device cpu, or a torch for CUDA.")
        self.torch = torch.device(run.device)
        has_bf16 = BF16_PRODUCTS if run.device == "cpu" else torch.cuda.is_bf16_supported(including_emulation=False)
        self._bf16 = has_bf16 if run.precision == "auto" else run.precision == "bf16"
        self._compiled = run.compiled

    def products(self) -> torch.autocast:
        """Return a context in which products are of bf16, where the run has such."""
        return torch.autocast(self.torch.type, dtype=torch.bfloat16, enabled=self._bf16)

    @property
    def product_type(self) -> torch.dtype:
        """Return the type that products are of in `products`."""
        return torch.bfloat16 if self._bf16 else torch.float32

    def compiled(self, function: Function) -> Function:
        """Return the function compiled, if the run asks for that: once for all lengths of sentences."""
        if not self._compiled:
            return function
        compiled: Any = torch.compile(function, dynamic=True, backend=BACKEND)  # which loses its type
        return cast(Function, compiled)


CPU = Device(Run())
