"""What the ciphers inside a network share: float32 features go in, uint32 words come out.

What leaves is uint32 and never float32. An encrypted number may be a NaN or a denormal, and JSON, Python floats,
float64, arithmetic, `relu`, `clip` and TFRecord float lists change the bits of those. Copies, `keras.ops.view`,
`tf.bitcast`, npz, HDF5 and SavedModel keep them. Keras on PyTorch has no uint32; there the words are int64 from 0 on.
All is computed on int32, which every backend shifts and adds; right shifts bring the sign in, and masks remove it.
"""

import keras
from keras import layers, ops


class CipherLayer(layers.Layer):
    """A layer that encrypts float32 to uint32 or, with `inverse`, decrypts it.

    A cipher defines `call` and `checked(inputs)`, which returns the features, of any shape, and what else comes in.
    """

    def __init__(self, inverse: bool = False, **kwargs):
        super().__init__(**{**kwargs, "autocast": False})
        self.inverse = inverse

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.checked(inputs)[0].shape, "float32" if self.inverse else words_dtype())

    def get_config(self):
        return {**super().get_config(), "inverse": self.inverse}

    def check_type(self, features) -> None:
        """Raises ValueError for features that are not float32, or to decrypt not uint32."""
        name, kind = type(self).__name__, keras.backend.standardize_dtype(features.dtype)
        if self.inverse and kind != words_dtype():
            raise ValueError(f"{name} decrypts uint32, got {kind}; pass the words as they came.")
        if not self.inverse and kind != "float32":
            raise ValueError(
                f"{name} encrypts float32, got {kind}; cast to float32 yourself, and know what precision is lost."
            )

    def output_of(self, words):
        """int32 words -> the same bits as the layer's output type."""
        if self.inverse:
            return ops.view(words, "float32")
        if words_dtype() == "int64":
            return ops.bitwise_and(ops.cast(words, "int64"), 0xFFFFFFFF)
        return ops.view(words, "uint32")


def words_dtype() -> str:
    """The type of uint32 words on this backend."""
    return "int64" if keras.backend.backend() == "torch" else "uint32"


def to_words(x):
    """float32 or uint32 of any shape -> the same bits as int32."""
    is_wide = keras.backend.standardize_dtype(x.dtype) == "int64"
    return ops.cast(x, "int32") if is_wide else ops.view(x, "int32")


def is_symbolic(x) -> bool:
    """Whether x stands for values to come: in a model of Keras, a graph of TensorFlow, or a function traced by JAX."""
    return any(kind.__name__ in ("KerasTensor", "SymbolicTensor", "Tracer") for kind in type(x).__mro__)
