"""``python -m sim tune|imitate|train|evaluate|ablate|export|play``: all that happens off the robot, by command."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from marl_core.errors import MarlError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Torch and the simulator are loaded by the command that needs them."""
    options = _parser().parse_args(arguments)
    # Where other programs run too, threads of torch that spin while they wait make learning many times slower.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    from sim import commands
    try:
        return getattr(commands, options.command)(options)
    except MarlError as error:
        sys.stderr.write(f'{type(error).__name__}: {error}\n')
        return 2
    except KeyboardInterrupt:
        sys.stderr.write('\ninterrupted\n')
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m sim', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Train, evaluate, export and watch policies that coordinate a fleet.',
        epilog='A policy from nothing to a robot:\n'
               '  python -m sim train --config config/training/quick.yaml --output runs/mine\n'
               '  python -m sim evaluate --policies runs/mine --output runs/mine/evaluation\n'
               '  python -m sim export runs/mine --evaluation runs/mine/evaluation/report.json\n'
               '  python -m sim play models/exported/coordinator.onnx --output episode.gif\n'
               '  tensorboard --logdir runs            (watch training)')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    _add_tune(commands)
    _add_imitate(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_ablate(commands)
    _add_export(commands)
    _add_play(commands)
    return parser


def _add_tune(commands: argparse._SubParsersAction) -> None:
    tune = commands.add_parser(
        'tune', help='tune the small scorer by CMA-ES', formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Tune the weights of the scorer (Burgard's rule plus weighted features, see models/scorer.py) by\n"
                    'CMA-ES on whole episodes. Continues if the folder holds a checkpoint.',
        epilog='mean: log ratio of makespans of a generation to the reference rule on training worlds, below 0 is\n'
               'quicker; held back: of the mean of all candidates, on worlds that are never tuned on.\n\n'
               '  python -m sim tune --config config/training/scorer.yaml\n'
               '  python -m sim export runs/scorer --output models/exported/scorer.onnx')
    tune.add_argument('--config', type=Path, default=None,
                      help='YAML with overrides of TuningConfig, see config/training/scorer.yaml')
    tune.add_argument('--output', type=Path, default=None, help='folder of the run (default: runs/ and the YAML)')
    _add_players(tune, None)
    tune.add_argument('--set', action='append', default=[], metavar='KEY=VALUE',
                      help='override one value, e.g. --set generations=5; may be repeated')


def _add_imitate(commands: argparse._SubParsersAction) -> None:
    imitate = commands.add_parser(
        'imitate', help='learn from an expert by DAgger', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Let an actor imitate any policy: behaviour cloning while the expert plays, DAgger while the\n'
                    'learner plays and the expert says what it would have done. Continues if the folder holds a\n'
                    'checkpoint; `train --set start=FOLDER/last.ckpt` goes on from there.',
        epilog='  python -m sim imitate --set expert=mtsp --output runs/imitation')
    imitate.add_argument('--config', type=Path, default=None, help='YAML with overrides of ImitationConfig')
    imitate.add_argument('--output', type=Path, default=None, help='folder of the run (default: runs/ and the YAML)')
    _add_players(imitate, None)
    imitate.add_argument('--set', action='append', default=[], metavar='KEY=VALUE',
                         help='override one value, e.g. --set expert=minpos; may be repeated')


def _add_train(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser(
        'train', help='train a policy by MAPPO', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Train an actor against a centralized critic. Continues if the folder holds a checkpoint; a run\n'
                    'that was stopped and continued ends in the same bits as one that was not.',
        epilog='The folder afterwards holds:\n'
               '  last.ckpt best.ckpt   to continue from; the best on held-back episodes\n'
               '  metrics.jsonl         numbers of each iteration; the same for TensorBoard\n'
               '  curves.png            drawn at the end\n\n'
               'What to watch: held_back/log_ratio is the logarithm of makespan / reference rule on worlds that are\n'
               'never trained on (-0.05: 5 % quicker). actor/divergence above 0.05 or actor/entropy near 0 mean that\n'
               'the learning rate is too high; critic/explained_variance should rise above 0.3.')
    train.add_argument('--config', type=Path, default=None,
                       help='YAML with overrides of TrainingConfig, see config/training/ (default: its defaults)')
    train.add_argument('--output', type=Path, default=None,
                       help='folder of the run (default: runs/ and the name of the YAML)')
    train.add_argument('--minutes', type=float, default=None,
                       help='stop after so long, with a checkpoint; the same command continues')
    _add_players(train, None)
    train.add_argument('--set', action='append', default=[], metavar='KEY=VALUE',
                       help='override one value, e.g. --set mappo.actor_rate=1e-4 --set seed=2; may be repeated')


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    evaluate = commands.add_parser(
        'evaluate', help='compare policies on held-back worlds', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Play all sets of an evaluation (config/evaluation/) with its policies and every classical one on\n'
                    'the same worlds and starts. Prints the ratios of their times with 95 % bootstrap intervals, and\n'
                    'writes report.html, report.json and figures: also distance, traffic, time to decide, plans that\n'
                    'know the map, pictures. Every run is kept: started again with the same folder, also with more\n'
                    'sets or policies, only what is missing is played.',
        epilog='Two good policies differ by 0.1 in log makespan on any one episode: 1 % needs 400 episodes.\n\n'
               "  python -m sim evaluate --policies runs/mine --sets 'generated*'\n"
               "  python -m sim evaluate --config config/evaluation/full.yaml --maps 'real=maps/*.yaml'")
    evaluate.add_argument('--config', type=Path, default=Path('config/evaluation/quick.yaml'),
                          help='YAML of the evaluation (default: %(default)s)')
    evaluate.add_argument('--policies', nargs='+', default=[], metavar='POLICY',
                          help='who plays, too: runs (their best.ckpt), checkpoints (.ckpt) or models (.onnx)')
    evaluate.add_argument('--sets', nargs='+', default=[], metavar='PATTERN',
                          help='play only sets of such names, e.g. "generated*" (default: all)')
    evaluate.add_argument('--maps', nargs='+', default=[], metavar='NAME=GLOB',
                          help='map_server YAML files for the sets that name such maps')
    evaluate.add_argument('--output', type=Path, default=Path('runs/evaluation'), help='folder (default: %(default)s)')
    _add_players(evaluate, 2)


def _add_ablate(commands: argparse._SubParsersAction) -> None:
    ablate = commands.add_parser(
        'ablate', help='measure what each technique is worth', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Train variants that differ in one thing each, play them and other policies on the same held-back\n'
                    'worlds, and compare all with one: ablations.md, .json and .png in the folder. Continues where it\n'
                    'was stopped.',
        epilog='  python -m sim ablate          (about an hour on two cores)')
    ablate.add_argument('--config', type=Path, default=Path('config/ablations.yaml'),
                        help='YAML of the study (default: %(default)s)')
    ablate.add_argument('--output', type=Path, default=Path('runs/ablations'), help='folder (default: %(default)s)')
    _add_players(ablate, 2)


def _add_players(command: argparse.ArgumentParser, processes: int | None) -> None:
    command.add_argument('--processes', type=int, default=processes,
                         help=f'that play (default: {processes or "as configured"})')
    command.add_argument('--engine', default='processes',
                         help='processes (of this machine, the default), or ray: of the Ray cluster at $RAY_ADDRESS or '
                              'that runs on this machine, else of one that is started for it; results are the same')


def _add_export(commands: argparse._SubParsersAction) -> None:
    export = commands.add_parser(
        'export', help='write a checkpoint as ONNX for robots',
        description='Write the actor as ONNX with a manifest, compare its numbers with torch on observations of many '
                    'sizes, load it as a robot would, and describe it in a model card beside it.')
    export.add_argument('checkpoint', type=Path, help='folder of a run (its best.ckpt), or a checkpoint')
    export.add_argument('--output', type=Path, default=Path('models/exported/coordinator.onnx'),
                        help='default: %(default)s')
    export.add_argument('--evaluation', type=Path, default=None,
                        help='report.json that evaluate wrote, for the manifest and the model card')


def _add_play(commands: argparse._SubParsersAction) -> None:
    play = commands.add_parser(
        'play', help='render one episode to GIF or PNG',
        description='Play one episode and draw it: a GIF shows all of it, a PNG six moments of it.')
    play.add_argument('policy', help='a run, a checkpoint (.ckpt), a model (.onnx), or a rule, e.g. burgard')
    play.add_argument('--seed', type=int, default=2_000_000_000, help='of world and start (default: %(default)s)')
    play.add_argument('--robots', type=int, default=None, help="size of the team (default: the configuration's)")
    play.add_argument('--output', type=Path, default=Path('episode.gif'), help='default: %(default)s')
    play.add_argument('--config', type=Path, default=None, help='YAML of the environment')


if __name__ == '__main__':
    sys.exit(main())
