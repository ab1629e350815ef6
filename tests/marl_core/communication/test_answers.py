from marl_core.communication.answers import MAX_LAYERS, Answers, AnswersConfig
from marl_core.types import LayerDigest, LayerId, MapDigest, MapFeatures, VersionRange

ADA, BOB = LayerId('ada', 1), LayerId('bob', 1)
CONFIG = AnswersConfig(writer_backoff_s=0.3, backoff_s=(0.5, 1.5), grace_s=1.0, forget_s=8.0)


def digest(robot: str = 'cy', *layers: LayerDigest) -> MapDigest:
    return MapDigest(robot, 0.0, layers)


def lacking(layer: LayerId, *ranges: tuple[int, int]) -> tuple[LayerDigest, ...]:
    return (LayerDigest(layer, tuple(VersionRange(*entry) for entry in ranges)),)


def features(layer: LayerId, first: int, last: int) -> MapFeatures:
    return MapFeatures('dot', 0.0, layer, VersionRange(first, last), 0.05, 'raw', b'')


def test_the_writer_answers_before_the_others_may():
    for seed in range(20):
        writer, other = Answers('ada', CONFIG), Answers(f'robot{seed}', CONFIG)
        for one in (writer, other):
            one.hear_digest(digest(), lacking(ADA, (1, 5)), 100.0)
        assert writer.due(100.3) == [(ADA, (VersionRange(1, 5),))]
        assert other.due(100.49) == []
        assert other.due(101.5) == [(ADA, (VersionRange(1, 5),))]


def test_nobody_waits_for_a_writer_that_is_gone():
    for seed in range(20):
        one, same = Answers(f'robot{seed}', CONFIG), Answers(f'robot{seed}', CONFIG)
        one.hear_digest(digest(), lacking(ADA, (1, 5)), 100.0, present={'cy'})
        same.hear_digest(digest(), lacking(ADA, (1, 5)), 100.0, present={'cy', 'ada'})
        assert one.due(101.0) == [(ADA, (VersionRange(1, 5),))]
        assert same.due(100.49) == []


def test_what_another_says_is_taken_back_and_the_rest_waits():
    one = Answers('eve', CONFIG)
    one.hear_digest(digest(), lacking(ADA, (1, 9)), 100.0)
    one.hear_features(features(ADA, 6, 9), 101.4)
    assert one.due(101.6) == []
    assert one.due(103.0) == [(ADA, (VersionRange(1, 5),))]
    one.hear_features(features(ADA, 1, 5), 103.0)
    assert not one.pending


def test_new_tiles_of_the_layer_do_not_delay_an_answer():
    one = Answers('eve', CONFIG)
    one.hear_digest(digest(), lacking(ADA, (1, 9)), 100.0)
    one.hear_features(features(ADA, 10, 12), 101.4)
    assert one.due(101.5) == [(ADA, (VersionRange(1, 9),))]


def test_a_digest_that_may_be_older_than_the_message_waits_for_the_next():
    one = Answers('ada', CONFIG)
    one.sent(features(ADA, 4, 6), 100.0)
    one.hear_digest(digest(), lacking(ADA, (1, 6)), 100.9)
    assert one.due(101.3) == [(ADA, (VersionRange(1, 3),))]
    one.hear_digest(digest(), lacking(ADA, (1, 6)), 101.4)
    assert one.due(101.8) == [(ADA, (VersionRange(1, 6),))]


def test_wishes_of_several_peers_are_one_answer():
    one = Answers('ada', CONFIG)
    one.hear_digest(digest('cy'), lacking(ADA, (1, 4)), 100.0)
    one.hear_digest(digest('dot'), lacking(ADA, (3, 8)), 100.0)
    assert one.due(101.0) == [(ADA, (VersionRange(1, 8),))]
    one.sent(features(ADA, 3, 8), 101.0)
    assert one.due(101.0) == [(ADA, (VersionRange(1, 2),))]


def test_a_peer_that_caught_up_or_fell_silent_is_not_answered():
    one = Answers('ada', CONFIG)
    one.hear_digest(digest('cy'), lacking(ADA, (1, 4)), 100.0)
    one.hear_digest(digest('cy'), (), 100.2)
    assert not one.pending
    one.hear_digest(digest('cy'), lacking(BOB, (1, 4)), 100.4)
    assert one.due(108.4) != []
    assert one.due(108.5) == []
    assert not one.pending


def test_memory_is_bounded():
    one = Answers('ada', AnswersConfig(max_pending=3))
    for number in range(10):
        one.hear_digest(digest(f'robot{number}'), lacking(BOB, (1, number + 1)), 100.0)
    assert one.due(102.0) == [(BOB, (VersionRange(1, 3),))]
    for number in range(2 * MAX_LAYERS):
        one.hear_features(features(LayerId('liar', number), 1, 2), 103.0)
    assert len(one._recent) == MAX_LAYERS


def test_on_a_link_that_loses_what_was_said_is_said_again_sooner():
    one = Answers('ada', CONFIG)
    one.sent(features(ADA, 4, 6), 100.0)
    one.hear_digest(digest(), lacking(ADA, (4, 6)), 100.6, lossy=True)
    assert one.due(101.0) == [(ADA, (VersionRange(4, 6),))]


def test_what_the_writer_will_repeat_anyway_is_no_lack():
    one = Answers('ada', CONFIG)
    one.hear_digest(digest(), lacking(ADA, (1, 6)), 100.0, coming=(VersionRange(4, 6),))
    assert one.due(101.0) == [(ADA, (VersionRange(1, 3),))]
    one.hear_digest(digest('dot'), lacking(BOB, (4, 6)), 100.0, coming=(VersionRange(4, 6),))
    assert one.due(102.0) == [(ADA, (VersionRange(1, 3),)), (BOB, (VersionRange(4, 6),))]


def test_a_digest_of_some_layers_takes_back_nothing_of_the_others():
    one = Answers('ada', CONFIG)
    one.hear_digest(digest(), lacking(ADA, (1, 4)), 100.0)
    one.hear_digest(MapDigest('cy', 0.0, lacking(BOB), whole=False), (), 100.1)
    assert one.pending
    one.hear_digest(MapDigest('cy', 0.0, lacking(ADA, (1, 4)), whole=False), (), 100.2)
    assert not one.pending


def test_the_same_calls_give_the_same_waits():
    one, twin = Answers('ada'), Answers('ada')
    for step in range(20):
        for each in (one, twin):
            each.hear_digest(digest(f'cy{step}'), lacking(BOB, (1, step + 1)), 100.0)
        assert [one.due(100.0 + t / 10) for t in range(16)] == [twin.due(100.0 + t / 10) for t in range(16)]
