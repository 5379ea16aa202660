"""What a scan left out, counted and listed."""

from collections import Counter
from dataclasses import dataclass

REASONS = ("missing", "empty", "corrupt", "nan", "silent", "too_short")


@dataclass(frozen=True)
class Skipped:
    """One clip that was left out."""

    id: str
    reason: str  # one of REASONS
    detail: str


@dataclass(frozen=True)
class SkipReport:
    """All clips that a scan left out.

    Example:
        >>> SkipReport((Skipped("a.wav", "silent", "loudest 50 ms at -80 dBFS"),)).summary()
        '1 silent'
    """

    items: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def counts(self) -> dict[str, int]:
        """Clips per reason, only reasons that occurred."""
        found = Counter(item.reason for item in self.items)
        return {reason: found[reason] for reason in REASONS if found[reason]}

    def summary(self) -> str:
        """One line: ``2 corrupt, 1 silent``."""
        return ", ".join(f"{count} {reason}" for reason, count in self.counts.items()) or "none"

    def listing(self, limit: int = 20) -> str:
        """One line per clip, the first ``limit`` of them."""
        lines = [f"{item.reason:9} {item.id}: {item.detail}" for item in self.items[:limit]]
        if len(self.items) > limit:
            lines.append(f"... and {len(self.items) - limit} more")
        return "\n".join(lines)
