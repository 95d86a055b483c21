"""The pages of a project: what it decided at a glance in `README.md`, and all tables in `RESULTS.md`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.report.tables import table, update_between
from common.statistics import Interval

README, RESULTS = "README.md", "RESULTS.md"
COLUMNS = ("claim", "verdict here", "measured", "on", "command")


@dataclass(frozen=True)
class Finding:
    """A claim of a publication, and what was measured of it here.

    Attributes:
        claim: in a few words.
        verdict: holds, does not hold or undecided, not converged where trainings have not, or not run.
        measured: the number with its interval, and what it is compared with.
        on: data set, and trainings of each method.
        command: makes the numbers, in Markdown.
    """

    claim: str
    verdict: str
    measured: str
    on: str
    command: str

    @classmethod
    def not_run(cls, claim: str, on: str, command: str) -> "Finding":
        """A claim that nothing was measured of."""
        return cls(claim, "not run", "–", on, command)

    @property
    def cells(self) -> list[str]:
        """In the order of `COLUMNS`."""
        return [self.claim, self.verdict, self.measured, self.on, self.command]


def verdict(difference: Interval, trainings: int = 2, expected: str = "higher") -> str:
    """What a difference says of a claim.

    Args:
        difference: between what the claim compares.
        trainings: of each method; one decides nothing, as the next one may come out otherwise.
        expected: "higher", "lower", or "not lower" for a claim that something costs nothing.

    Example:
        >>> verdict(Interval(0.03, 0.02, 0.04), trainings=3)
        'holds'
    """
    if trainings < 2:
        return "undecided: one training"
    known = difference.verdict
    if known == "undecided":
        return known
    holds = known != "lower" if expected == "not lower" else known == expected
    return "holds" if holds else "does not hold"


def command(project: str, preset: str, run: Mapping[str, Any] | None = None) -> str:
    """The command that trains a run, in Markdown, but for where its data lie.

    Args:
        project: name of its package.
        preset: of a run that is not published.
        run: entry of `results.json`, with the preset that it is nearest to and the fields that differ.

    Example:
        >>> command("flipreid", "demo", {"preset": "demo", "changed": ["seeds"], "config": {"seeds": [0, 1]}})
        '`make train-flipreid ARGS="--seeds 0 1"`'
    """
    run = run or {"preset": preset, "changed": [], "config": {}}
    options = []
    for name in run["changed"]:
        value = run["config"][name]
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        options.append(f"--{name.replace('_', '-')} {text}")
    parts = [f"make train-{project}"]
    if run["preset"] != "demo":
        parts.append(f"PRESET={run['preset']}")
    if options:
        parts.append('ARGS="' + " ".join(options) + '"')
    return f"`{' '.join(parts)}`"


def renew(project: Path, findings: Iterable[Finding], sections: Sequence[str]) -> None:
    """Writes the claims into the README of a project's folder, and the tables into its RESULTS.

    Raises:
        ValueError: a page lacks its marks, `glance` in the README and `results` in RESULTS.
    """
    update_between(project / README, "glance", table(COLUMNS, [finding.cells for finding in findings]))
    update_between(project / RESULTS, "results", "\n\n".join(section for section in sections if section))
