"""Anti-entropy: what keeps replicas equal over links that lose, and what it knows of the others.

Four parts: the writer repeats what it published where links lose (redundancy), replicas say what they hold
(digests), whoever holds more answers (answers), and who is listened to is chosen (topology).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from marl_core.communication.answers import Answers, AnswersConfig
from marl_core.communication.digests import DigestConfig, DigestSchedule
from marl_core.communication.redundancy import Holdings, RedundancyConfig, Repeats
from marl_core.types import LayerDigest, LayerId, MapDigest, MapFeatures, RobotStatus
from marl_core.versions import Ranges, subtract

Known = Callable[[LayerId], Ranges]
"""What is held of a layer."""


@dataclass(frozen=True, slots=True)
class ResyncConfig:
    """Settings of all parts of anti-entropy."""

    answers: AnswersConfig = field(default_factory=AnswersConfig)
    digests: DigestConfig = field(default_factory=DigestConfig)
    redundancy: RedundancyConfig = field(default_factory=RedundancyConfig)


class AntiEntropy:
    """Tells a communicator what to say besides status and new tiles, and when.

    Attributes:
        loss: what part of packets the links are estimated to lose, both ways alike [0..1]; kept up by the owner.
    """

    def __init__(self, name: str, digest_period_s: float, config: ResyncConfig | None = None) -> None:
        config = config or ResyncConfig()
        self.loss = 0.0
        self._name = name
        self._redundancy = config.redundancy
        self._answers = Answers(name, config.answers)
        self._digests = DigestSchedule(name, digest_period_s, config.digests)
        self._holdings = Holdings(config.redundancy)
        self._repeats = Repeats(config.redundancy)
        self._protected = False

    @property
    def pending(self) -> bool:
        """Whether somebody is known to lack something."""
        return self._answers.pending

    @property
    def missing(self) -> dict[LayerId, Ranges]:
        """What is known to exist and not held here, by layer."""
        return self._digests.missing

    @property
    def lossy(self) -> bool:
        """Whether the links are not to be trusted."""
        return self.loss >= self._redundancy.lossy_from

    def hear(self, peer: str, now: float) -> None:
        """Note that a peer was heard; one that was silent before is told soon what is held."""
        if self._holdings.hear(peer, now):
            self._digests.meet(now)

    def hear_status(self, status: RobotStatus, known: Known, now: float) -> None:
        """Note what a robot says that it published."""
        layer = LayerId(status.robot, status.epoch)
        self._digests.exists(layer, status.issued, known(layer), self._underway_s, now)

    def hear_digest(self, digest: MapDigest, lacking: tuple[LayerDigest, ...], own: LayerId | None, known: Known,
                    now: float) -> None:
        """Note what a peer holds and lacks.

        Args:
            digest: what was heard. lacking: what its sender lacks of what is held here.
            own: the own layer. known: what is held of each layer.
            now: time [s].
        """
        present = self._holdings.fresh(now)
        self._answers.hear_digest(digest, lacking, now, self.lossy, self._repeats.open, present)
        entries = dict(digest.layers)
        if own is not None and (digest.whole or own in entries):
            self._holdings.hear_digest(digest.robot, entries.pop(own, ()), now)
        for layer, ranges in entries.items():
            if ranges:
                self._digests.exists(layer, ranges[-1].last, known(layer), self._underway_s, now)

    def hear_features(self, features: MapFeatures, known: Known, now: float) -> None:
        """Note what somebody said, after it was joined (or put aside)."""
        self._answers.hear_features(features, now)
        self._digests.exists(features.layer, features.versions.last, known(features.layer), self._underway_s, now)
        self._digests.changed(now)

    def published(self, features: MapFeatures, now: float) -> None:
        """Note what was said for the first time."""
        self._answers.sent(features, now)
        self._digests.changed(now)
        self._holdings.said(features.versions, now)
        self._repeats.plan(features.versions, self.loss, now)

    def answered(self, features: MapFeatures, now: float) -> None:
        """Note what was said because somebody lacks it."""
        self._answers.sent(features, now)

    def repeated(self, features: MapFeatures, now: float) -> None:
        """Note what was said again."""
        self._answers.sent(features, now)
        self._repeats.said(features.versions, now)

    def answers_due(self, now: float) -> list[tuple[LayerId, Ranges]]:
        """What others lack and should be told now, most urgent first."""
        return self._answers.due(now)

    def repeats_due(self, published: Ranges, now: float) -> Ranges:
        """Which versions of the own layer should be said again now; ``published`` are all."""
        if self.lossy and not self._protected:  # What was said while the link seemed good may be lost, too.
            unconfirmed = subtract(published, self._holdings.confirmed(published, False, now))
            self._repeats.restart(unconfirmed, self.loss, now)
        self._protected = self.lossy
        if not self._repeats.due(now):
            return ()
        self._repeats.confirm(self._holdings.confirmed(published, False, now))
        return self._repeats.due(now)

    def confirmed(self, published: Ranges, now: float) -> Ranges:
        """What of the own layer (``published``) all peers hold: new tiles may be coded against it.

        On links that lose nothing, what was said since a peer's last digest counts as held.
        """
        return self._holdings.confirmed(published, not self.lossy, now)

    def digest_due(self, now: float) -> bool:
        """Whether it is time to say what is held."""
        return self._digests.is_due(now)

    def compose_digest(self, held: Iterable[LayerDigest], now: float) -> tuple[tuple[LayerDigest, ...], bool]:
        """What to say is held, and whether that is all."""
        return self._digests.compose(held, now)

    def digest_said(self, entries: Iterable[LayerDigest], whole: bool, now: float) -> None:
        """Note a digest that was sent."""
        self._digests.said(entries, whole, now)

    @property
    def _underway_s(self) -> float:
        """How long the writer may still repeat what is missing here."""
        return self._redundancy.spread_s if self.lossy else 0.0
