"""A study: variants are trained, compared on the same episodes, and none of it is done twice."""

import json
from pathlib import Path

import pytest

from marl_core.config import from_mapping
from marl_core.errors import ConfigError, PolicyError
from sim.evaluation.ablation import AblationConfig, Study

SMALL = {
    'training': {'environment_options': {'robots': 2, 'task': {'smallest_m': 9.0, 'largest_m': 11.0,
                                                               'world_resolution_m': 0.2,
                                                               'planning_resolution_m': 0.4}},
                 'iterations': 2, 'episodes': 4, 'processes': 1, 'learning_threads': 1, 'warm_up': 0,
                 'evaluate_every': 9, 'evaluation_episodes': 1},
    'variants': {'whole': {}, 'blind to distance': {'actor_options.distance_bias': False},
                 'copy': {'imitate': {'expert': 'burgard', 'rounds': 2, 'episodes': 4}}},
    'players': {'minpos': 'minpos'},
    'episodes': 4,
    'conditions': {'perfect': {}, 'deaf': {'task.hardships': {'radio_range_m': [0.5, 0.5]}}},
}


def test_a_study_from_end_to_end_that_is_interrupted(tmp_path: Path) -> None:
    study = Study(from_mapping(AblationConfig, SMALL), tmp_path, processes=1)
    assert (study.missing_trainings, study.missing_episodes) == (3, 32)
    steps = study.train()
    assert [next(steps) for _ in range(3)] == [('whole', 1, 1, 2), ('whole', 1, 2, 2), ('blind to distance', 1, 1, 2)]
    steps.close()
    study = Study(from_mapping(AblationConfig, SMALL), tmp_path, processes=1)
    assert study.missing_trainings == 2
    assert [step[0] for step in study.train()] == ['blind to distance', 'blind to distance', 'copy', 'copy']
    playing = study.play()
    assert next(playing) == 4
    playing.close()
    assert sum(study.play()) == 32 and study.missing_episodes == 0 and not list(study.play())
    table = study.report('the command').read_text()
    assert 'the command' in table and '| whole | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] |' in table
    numbers = json.loads((tmp_path / 'ablations.json').read_text())
    assert set(numbers['ratios']) == {'whole', 'blind to distance', 'copy', 'minpos'}
    deaf = json.loads((tmp_path / 'results.json').read_text())
    assert sum(deaf['deaf | minpos']) > sum(deaf['perfect | minpos'])
    assert (tmp_path / 'ablations.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(('wrong', 'error', 'message'), [
    ({'against': 'nothing'}, ConfigError, 'against must name a variant'),
    ({'variants': {'whole': {'mapo.clip': 1.0}}}, ConfigError, "variant 'whole': unknown key 'mapo'"),
    ({'variants': {'whole': {'imitate': {'exprt': 'x'}}}}, ConfigError, "imitate: unknown key 'exprt'"),
    ({'conditions': {'deaf': 3}}, ConfigError, "condition 'deaf'"),
    ({'players': {'x': 'nobody'}}, PolicyError, 'nobody'),
])
def test_a_study_that_cannot_be_is_refused_before_anything_is_trained(tmp_path: Path, wrong: dict, error: type,
                                                                      message: str) -> None:
    with pytest.raises(error, match=message):
        Study(from_mapping(AblationConfig, SMALL | wrong), tmp_path)
    assert not list(tmp_path.iterdir())
