"""Tests, and what they run in processes of their own, train tiny networks: most of the time goes into their graphs.

So TensorFlow does not optimize graphs here. The smoke run of every project does.
"""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
