"""Alarms ring when something goes wrong, once, and fall silent with it."""

from almtok.codec.train.config import stage1
from almtok.codec.train.monitor import TrainingAlarms

HEALTHY = {"usage": 0.9, "perplexity": 500.0}
DEAD = {"usage": 0.01, "perplexity": 1.5}


def test_a_collapsed_codebook_is_named_once() -> None:
    alarms = TrainingAlarms(config=stage1(alarm_after=10, alarm_usage=0.05))
    assert alarms.check(5, {}, [HEALTHY, DEAD]) == []  # too early to tell
    (message,) = alarms.check(20, {}, [HEALTHY, DEAD])
    assert message.startswith("codebook 2 collapses: 1.0% of its entries are used")
    assert alarms.check(30, {}, [HEALTHY, DEAD]) == []
    assert alarms.check(40, {}, [HEALTHY, HEALTHY]) == []
    assert len(alarms.check(50, {}, [DEAD, DEAD])) == 2


def test_winning_discriminators_ring_after_a_while() -> None:
    alarms = TrainingAlarms(
        config=stage1(alarm_after=10, adversarial_start=100, alarm_discriminator=0.1)
    )
    assert alarms.check(105, {"discriminator": 0.01}, []) == []  # they have only just begun
    (message,) = alarms.check(120, {"discriminator": 0.01}, [])
    assert "the discriminators dominate: their loss averages 0.010" in message
    for step in range(130, 230, 10):
        assert alarms.check(step, {"discriminator": 1.9}, []) == []
    assert alarms.active == set()
