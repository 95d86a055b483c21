"""What an evaluation must return, by networks that are known functions, and bits that are moved one by one."""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from sklearn.linear_model import LogisticRegression

from shufflebits.config import RECONSTRUCTIONS
from shufflebits.cryptanalysis import recover_key
from tests.common.shuffle_oracle import derived_keys, shuffled

D, LOCAL, USERS, SIDES = 32, 40, 15, (4, 2, 3)
ENCRYPTED = [
    "ShuffleBits, one key",
    "ShuffleBits, key per request",
    "ChaCha20",
    "ShuffleBits, one key, broken",
    "ShuffleBits, key per request, broken",
]
ZEROS = "ShuffleBits, any keys, zeros alone"


def features(count, seed):
    """Some are zero, and the largest ones are negative."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(count, 6)) @ np.random.default_rng(9).normal(size=(6, D))).astype("float32")
    return np.where(x > 1, 0, x).astype("float32")


def classes_of(part):
    """Attribute -> the class of each image, counted from 0, or None."""
    known = part.identity > 0
    color = np.where(part.upred == 2, 1, 0)  # blue, red
    values = {"age": part.age - 1, "hat": part.hat - 1, "upper_color": color}
    return {name: [int(v) if k else None for v, k in zip(column, known)] for name, column in values.items()}


def balanced(truth, scores):
    """Mean over classes of the share of their images whose largest score is theirs."""
    rights = {}
    for name, row in zip(truth, scores):
        if name is not None:
            rights.setdefault(name, []).append(list(row).index(max(row)) == name)
    return sum(sum(right) / len(right) for right in rights.values()) / len(rights)


def weights_of(trial):
    """What a training has learned: a matrix for each output."""
    rng = np.random.default_rng(list(trial.encode()))
    sizes = {"age": 3, "hat": 2, "upper_color": 2, "image": np.prod(SIDES)}
    return {name: rng.normal(size=(D, size)).astype("float32") for name, size in sizes.items()}


def logits(weights, numbers):
    return {name: numbers @ weights[name] for name in ("age", "hat", "upper_color")}


def images(weights, numbers):
    return 1 / (1 + np.exp(-0.2 * numbers @ weights["image"])).reshape(-1, *SIDES)


def embedded(pictures):
    """The victim model."""
    return (np.reshape(pictures, (len(pictures), -1)) / 255 - 0.5) @ weights_of("victim")["image"].T


def key_words(users, seed):
    """Words under the users' one key, and under a key for each vector."""
    words = users.view("uint32")
    secret = np.random.default_rng([seed, 1]).bytes(32)
    one, each = derived_keys(secret, 1)[0], derived_keys(secret, len(users))
    return shuffled(words, one), shuffled(words, each[:, None])


def read_as(local, users, seed):
    """Setting -> the numbers that an adversary makes of stolen features."""
    one, by_request = key_words(users, seed)
    stream = Cipher(algorithms.ChaCha20(np.random.default_rng([seed, 2]).bytes(32), bytes(16)), None).encryptor()
    guesses = [recover_key(words[None], local).key for words in by_request]
    words = [
        one,
        by_request,
        np.frombuffer(stream.update(users.tobytes()), "uint32").reshape(users.shape),
        shuffled(one, np.argsort(recover_key(one, local).key)),
        shuffled(by_request, np.argsort(guesses, axis=1)[:, None]),
    ]
    largest = max(abs(float(x)) for x in local.ravel())
    numbers = {"not encrypted": users}
    for name, each in zip(ENCRYPTED, words):
        values = [x if abs(x) <= 2 * largest else 0.0 for x in each.view("float32").ravel().tolist()]
        numbers[name] = np.reshape(values, users.shape).astype("float32")
    return numbers


def from_zeros(parts, local, users):
    """Logistic regression on which features are zero, with weights inverse to the frequency by hand."""
    accuracies, truth = {}, classes_of(parts.users)
    for name, classes in classes_of(parts.local).items():
        rows = [row for row, value in enumerate(classes) if value is not None]
        values = [classes[row] for row in rows]
        weights = [len(values) / len(set(values)) / values.count(value) for value in values]
        model = LogisticRegression(C=0.1, max_iter=500).fit(local[rows] == 0, values, weights)
        decided = model.predict_proba(users == 0)
        accuracies[name] = balanced(truth[name], decided)
    return accuracies


def distance(plain, pictures):
    pairs = zip(plain.astype(float), embedded(pictures))
    return np.mean([1 - x @ y / np.sqrt((x @ x) * (y @ y)) for x, y in pairs])


def expected_record(parts, local, users, attack, seed):
    weights, truth = weights_of(f"{attack}-seed{seed}"), classes_of(parts.users)
    if attack == "attributes_on_words":
        # Divided by 2³², as numbers from 0 to 1.
        settings = {ENCRYPTED[0]: np.float32(key_words(users, seed)[0] / 2**32)}
    else:
        settings = read_as(local, users, seed)
    if attack in RECONSTRUCTIONS:
        pictures = {name: np.rint(255 * images(weights, numbers)) for name, numbers in settings.items()}
        distances = {name: distance(users, pictures[name]) for name in settings}
        others = np.random.default_rng(seed).permutation(USERS)
        of_another = distance(users, pictures["not encrypted"][others])
        return {"cosine_distance": {**distances, "of another image": of_another}}
    accuracies = {
        name: {attribute: balanced(truth[attribute], scores) for attribute, scores in logits(weights, numbers).items()}
        for name, numbers in settings.items()
    }
    if attack == "attributes_on_words":
        accuracies[ZEROS] = from_zeros(parts, local, users)
    return {"chance": {"age": 1 / 3, "hat": 1 / 2, "upper_color": 1 / 2}, "balanced_accuracy": accuracies}
