"""Settings that hold for all tests."""

import keras
from hypothesis import settings

# The first call of an operation compiles it on some backends, which takes what it takes.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")

if keras.backend.backend() == "torch":
    import torch

    # NumPy refuses tensors that gradients pass through; tests only look at their numbers.
    _array = torch.Tensor.__array__
    torch.Tensor.__array__ = lambda self, *arguments, **keywords: _array(self.detach(), *arguments, **keywords)
