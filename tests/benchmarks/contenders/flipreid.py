"""One way of training or running ResNet50 on 256×128 pixels: prints images per second and memory as JSON.

python -m tests.benchmarks.contenders.flipreid NAME
"""

import sys
from collections.abc import Callable

import numpy as np

from tests.benchmarks.contenders import measures

BATCH, IDENTITIES, SIZE = 16, 751, (256, 128)
IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH, *SIZE, 3), dtype="uint8")
LABELS = np.repeat(np.arange(BATCH // 4), 4)
REPEATS, LIMIT = 6, 60  # steps, and seconds after which none begins

Step = Callable[[], object]


def _start(threads: int | None, deterministic: bool) -> None:
    import keras
    import tensorflow as tf

    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    keras.utils.set_random_seed(0)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def _ours(method: str, precision: str = "float32", views: str = "separate"):
    from common.backbones import build_backbone
    from common.experiments import training
    from flipreid.model import build_model

    with training.precision(precision):
        backbone = build_backbone("resnet50", SIZE, None)
        return build_model(backbone, IDENTITIES, method=method, views=views, regional_branches=False)


def train(
    method: str = "baseline",
    *,
    xla: bool = False,
    precision: str = "float32",
    threads: int | None = None,
    deterministic: bool = True,
    views: str = "separate",
) -> Step:
    """Steps of the project's own network by Keras' training function."""
    _start(threads, deterministic and not xla)  # Keras has no XLA together with deterministic kernels
    import keras
    import tensorflow as tf

    from flipreid.model import losses

    model = _ours(method, precision, views)
    loss, graph = losses(model), model.training_model
    graph.compile(keras.optimizers.Adam(1e-4), loss, jit_compile=xla)
    batch = tf.constant(IMAGES), dict.fromkeys(graph.output, tf.constant(LABELS))
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    graph.make_train_function()
    return lambda: {name: float(value) for name, value in graph.train_function(batches).items()}


def embed(
    inference: str = "single",
    *,
    xla: bool = False,
    precision: str = "float32",
    threads: int | None = None,
) -> Step:
    """Embeddings by Keras' prediction function."""
    _start(threads, not xla)
    import tensorflow as tf

    model = getattr(_ours("baseline", precision), inference)
    model.compile(jit_compile=xla)
    model.make_predict_function()
    batches = [(tf.constant(IMAGES),)]
    return lambda: model.predict_function(batches).numpy()


def _torch_network():
    """Keras' ResNet50 at last stride 1 in PyTorch: the stride is in the first convolution, and all have biases."""
    import torch
    from torch import nn

    def normalized(*convolution):
        return nn.Sequential(nn.Conv2d(*convolution), nn.BatchNorm2d(convolution[1], eps=1.001e-5))

    class Bottleneck(nn.Module):
        def __init__(self, inputs, planes, stride, first):
            super().__init__()
            self.body = nn.Sequential(
                normalized(inputs, planes, 1, stride),
                nn.ReLU(inplace=True),
                normalized(planes, planes, 3, 1, 1),
                nn.ReLU(inplace=True),
                normalized(planes, 4 * planes, 1),
            )
            self.shortcut = normalized(inputs, 4 * planes, 1, stride) if first else nn.Identity()

        def forward(self, x):
            return torch.relu(self.body(x) + self.shortcut(x))

    blocks, inputs = [normalized(3, 64, 7, 2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)], 64
    for planes, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 1)):
        for index in range(count):
            blocks.append(Bottleneck(inputs, planes, stride if index == 0 else 1, index == 0))
            inputs = 4 * planes
    return nn.Sequential(*blocks)


def pytorch(*, train: bool, channels_last: bool = False, bfloat16: bool = False) -> Step:
    """The same network, losses and optimizer in PyTorch, written plainly."""
    import torch
    from torch import nn

    torch.set_num_threads(2)
    torch.manual_seed(0)
    backbone, images = _torch_network(), torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).astype("float32") / 255)
    if channels_last:
        backbone, images = (x.to(memory_format=torch.channels_last) for x in (backbone, images))
    head, power = (
        nn.Sequential(nn.BatchNorm1d(2048), nn.Linear(2048, IDENTITIES, bias=False)),
        nn.Parameter(torch.ones(())),
    )
    parameters = [*backbone.parameters(), *head.parameters(), power]
    optimizer, labels = torch.optim.Adam(parameters, 1e-4, weight_decay=1e-3), torch.from_numpy(LABELS)
    same = labels[:, None] == labels[None]

    def embeddings():
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            maps = backbone(images)
        return maps.float().clamp(1e-6).pow(power).mean((2, 3)).pow(1 / power).clamp(0, 1)

    def step():
        optimizer.zero_grad()
        features = embeddings()
        distances = torch.cdist(features, features)
        farthest = distances.masked_fill(~same, -1).amax(1)
        nearest = distances.masked_fill(same, 1e9).amin(1)
        loss = nn.functional.softplus(farthest - nearest).mean() + nn.functional.cross_entropy(head(features), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    if train:
        return step
    backbone.eval()
    return torch.inference_mode()(embeddings)


TRAINING: dict[str, Callable[[], Step]] = {
    "ours": train,
    "ours, kernels not deterministic": lambda: train(deterministic=False),
    "ours, XLA": lambda: train(xla=True),
    "ours, 1 thread": lambda: train(threads=1),
    "ours, mixed_bfloat16": lambda: train(precision="mixed_bfloat16"),
    "PyTorch": lambda: pytorch(train=True),
    "PyTorch, channels last": lambda: pytorch(train=True, channels_last=True),
    "PyTorch, channels last, bfloat16": lambda: pytorch(train=True, channels_last=True, bfloat16=True),
}
FLIPREID: dict[str, Callable[[], Step]] = {
    "FlipReID, image and mirror in one pass": lambda: train("flipping_loss", views="concatenated"),
    "FlipReID, two passes": lambda: train("flipping_loss"),
}
EMBEDDING: dict[str, Callable[[], Step]] = {
    "ours": embed,
    "ours, XLA": lambda: embed(xla=True),
    "ours, 1 thread": lambda: embed(threads=1),
    "ours, mixed_bfloat16": lambda: embed(precision="mixed_bfloat16"),
    "ours, double images": lambda: embed("double"),
    "PyTorch": lambda: pytorch(train=False),
    "PyTorch, channels last": lambda: pytorch(train=False, channels_last=True),
    "PyTorch, channels last, bfloat16": lambda: pytorch(train=False, channels_last=True, bfloat16=True),
}
CONTENDERS = {
    f"{kind}: {name}": start
    for kind, ways in (("train", {**TRAINING, **FLIPREID}), ("embed", EMBEDDING))
    for name, start in ways.items()
}

if __name__ == "__main__":
    seconds = measures.seconds_of(CONTENDERS[sys.argv[1]](), REPEATS, LIMIT)
    measures.report(per_second=BATCH / float(np.median(seconds)))
