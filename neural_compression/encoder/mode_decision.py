"""Which network each block of an image takes."""

import numpy as np

from common.jit import compiled

_MOST_SWEEPS = 20


def by_quality(errors: np.ndarray, samples: np.ndarray, target_psnr: float) -> np.ndarray:
    """The publication's choice: the shortest code that reaches a PSNR in its block, the longest where none does.

    Args:
        errors: (N, R, C) of networks with increasing code lengths.
        samples: (R, C).
        target_psnr: dB.

    Returns:
        (R, C) uint8.
    """
    reached = errors <= samples * (255.0**2 * 10 ** (-target_psnr / 10))  # Eq. (2)
    return np.where(reached.any(0), reached.argmax(0), len(errors) - 1).astype(np.uint8)


def by_lagrangian(errors: np.ndarray, costs: np.ndarray, weight: float) -> np.ndarray:
    """The choice with a small squared error + λ · bits over all blocks; never worse than one network for all.

    What a block costs depends on its neighbors' networks. From several starts, blocks are changed until no change of
    a single one helps; the best of the ends is taken.

    Args:
        errors: (N, R, C).
        costs: (N, 2, 2, R, C) bits, as of `BlockVersions.costs`.
        weight: λ.

    Returns:
        (R, C) uint8.
    """
    weighted = weight * costs
    alike = (errors + weighted[:, 1, 1]).argmin(0)
    ends = [alike, *(np.full_like(alike, n) for n in range(len(errors)))]
    for networks in ends:
        _improve(networks, errors, weighted)
    return min(ends, key=lambda networks: lagrangian(networks, errors, costs, weight)).astype(np.uint8)


def lagrangian(networks: np.ndarray, errors: np.ndarray, costs: np.ndarray, weight: float) -> float:
    """Squared error + λ · bits of a choice; arguments as for `by_lagrangian`, networks (R, C)."""
    rows, columns = np.indices(networks.shape)
    return float(errors[networks, rows, columns].sum() + weight * bits(networks, costs))


def bits(networks: np.ndarray, costs: np.ndarray) -> float:
    """What the codes of a choice (R, C) take; costs as of `BlockVersions.costs`."""
    rows, columns = np.indices(networks.shape)
    padded = np.pad(networks.astype(np.int64), ((1, 0), (1, 0)), constant_values=-1)
    left, up = padded[1:, :-1], padded[:-1, 1:]
    return float(costs[networks, (left == networks) * 1, (up == networks) * 1, rows, columns].sum())


@compiled()
def _improve(networks, errors, costs):
    """Gives one block after the other the network that is best while all others stay, until none changes."""
    rows, columns = networks.shape
    for _ in range(_MOST_SWEEPS):
        changed = False
        for r in range(rows):
            for c in range(columns):
                now = best = networks[r, c]
                least = np.inf
                for n in range(len(errors)):
                    alike = c > 0 and networks[r, c - 1] == n, r > 0 and networks[r - 1, c] == n
                    total = errors[n, r, c] + costs[n, int(alike[0]), int(alike[1]), r, c]
                    if c + 1 < columns:  # the right block depends on this one
                        other = networks[r, c + 1]
                        up = r > 0 and networks[r - 1, c + 1] == other
                        total += costs[other, int(n == other), int(up), r, c + 1]
                    if r + 1 < rows:
                        other = networks[r + 1, c]
                        left = c > 0 and networks[r + 1, c - 1] == other
                        total += costs[other, int(left), int(n == other), r + 1, c]
                    # Where two are equal the present one stays, so that the sweeps end.
                    if total < least or (total == least and n == now):
                        best, least = n, total
                networks[r, c] = best
                changed = changed or best != now
        if not changed:
            break
