import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from marl_core.errors import ConfigError, MessageError
from marl_nodes.fleet.commands import main
from marl_nodes.fleet.keys import GROUP, make_keys, member_names, report_of
from marl_nodes.fleet.model import Fleet, MapEntry, RobotEntry
from marl_nodes.key_files import load_seal, read_private_key

NAMES = ('robot_1', 'robot_2', 'map')
DATA = b'\x01\x00said'


@pytest.fixture
def folder(tmp_path):
    make_keys(tmp_path / 'keys', NAMES)
    return tmp_path / 'keys'


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(folder, name='robot_1', mode='signed'):
    with pytest.raises(ConfigError) as caught:
        load_seal(mode, folder, name)
    return str(caught.value)


def test_secrets_are_for_their_owner_only(folder):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.name != '.gitignore'}
    assert modes == {'robot_1.key': 0o600, 'robot_2.key': 0o600, 'map.key': 0o600, 'group.key': 0o600,
                     'fleet.keys.yaml': 0o644}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_members_hear_each_other(folder):
    for mode in ('signed', 'mac', 'plain'):
        packet = load_seal(mode, folder, 'robot_1').close(DATA)
        assert load_seal(mode, folder, 'map').open(packet, 'robot_1', 0.0)[2:] == DATA[2:]


def test_a_robot_needs_only_its_own_files(folder):
    (folder / 'robot_2.key').unlink()
    (folder / 'map.key').unlink()
    assert load_seal('signed', folder, 'robot_1').mode == 'signed'
    (folder / 'robot_1.key').unlink()
    (folder / 'fleet.keys.yaml').unlink()
    assert load_seal('mac', folder, 'robot_1').mode == 'mac'


def test_nothing_is_overwritten(folder):
    before = contents(folder)
    changes = make_keys(folder, NAMES)
    assert contents(folder) == before
    assert changes.made == () and changes.dropped == ()
    assert 'Copy' not in report_of(changes)


def test_force_makes_all_anew(folder):
    before = contents(folder)
    changes = make_keys(folder, NAMES, force=True)
    assert set(changes.made) == {*NAMES, GROUP}
    assert all(content != before[name] for name, content in contents(folder).items() if name != '.gitignore')


def test_a_new_robot_gets_a_key_and_the_others_keep_theirs(folder):
    before = contents(folder)
    changes = make_keys(folder, (*NAMES, 'robot_3'))
    assert changes.made == ('robot_3',)
    assert {name for name, content in contents(folder).items() if before.get(name) != content} == {
        'robot_3.key', 'fleet.keys.yaml'}


def test_rotation_shuts_the_old_key_out(folder):
    old = load_seal('signed', folder, 'robot_1')
    changes = make_keys(folder, NAMES, rotate=['robot_1'])
    assert changes.made == ('robot_1',)
    receiver = load_seal('signed', folder, 'robot_2')
    with pytest.raises(MessageError, match='impersonated'):
        receiver.open(old.close(DATA), 'robot_1', 0.0)
    assert receiver.open(load_seal('signed', folder, 'robot_1').close(DATA), 'robot_1', 0.0)
    report = report_of(changes)
    assert '  robot_1  robot_1.key, group.key, fleet.keys.yaml\n' in report
    assert '  robot_2  fleet.keys.yaml\n' in report


def test_rotation_of_the_group_key_shuts_former_members_out(folder):
    old = load_seal('signed', folder, 'map')
    changes = make_keys(folder, NAMES[:2])
    assert changes.dropped == ('map',)
    assert '--rotate group' in report_of(changes)
    with pytest.raises(MessageError, match='unknown-sender'):
        load_seal('signed', folder, 'robot_1').open(old.close(DATA), 'map', 0.0)
    make_keys(folder, NAMES[:2], rotate=[GROUP])
    with pytest.raises(MessageError, match='forged'):
        load_seal('signed', folder, 'robot_1').open(old.close(DATA), 'robot_2', 0.0)


def test_private_keys_may_live_elsewhere(folder):
    before = contents(folder)['fleet.keys.yaml']
    (folder / 'robot_1.key').unlink()
    assert make_keys(folder, NAMES).made == ()
    assert contents(folder)['fleet.keys.yaml'] == before


def test_who_is_no_member_cannot_rotate(folder):
    with pytest.raises(ConfigError, match='robot_9.*robot_1, robot_2, map and group'):
        make_keys(folder, NAMES, rotate=['robot_9'])


def test_keys_that_do_not_fit_together_are_named_before_anything_is_written(folder):
    (folder / 'robot_1.key').write_bytes((folder / 'robot_2.key').read_bytes())
    before = contents(folder)
    with pytest.raises(ConfigError, match=r'robot_1\.key.*--rotate robot_1'):
        make_keys(folder, (*NAMES, 'robot_3'))
    assert contents(folder) == before
    assert 'robot_1.key: is not the key of robot_1' in refusal(folder)


@pytest.mark.parametrize('missing', ['robot_1.key', 'group.key', 'fleet.keys.yaml'])
def test_missing_files_are_named(folder, missing):
    (folder / missing).unlink()
    assert f'{folder / missing}: does not exist' in refusal(folder)


@pytest.mark.parametrize('secret', ['robot_1.key', 'group.key'])
@pytest.mark.parametrize('mode', [0o644, 0o640, 0o602])
def test_secrets_that_others_may_read_are_refused(folder, secret, mode):
    (folder / secret).chmod(mode)
    message = refusal(folder)
    assert f'chmod 600 {folder / secret}' in message
    assert f'{mode:04o}' in message


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_unreadable_files_are_named(folder):
    (folder / 'group.key').chmod(0)
    assert 'group.key: cannot be read' in refusal(folder)


def test_a_folder_in_place_of_a_key_is_named(folder):
    (folder / 'robot_1.key').unlink()
    (folder / 'robot_1.key').mkdir(mode=0o700)
    assert 'robot_1.key: cannot be read' in refusal(folder)


def x25519_key():
    return X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encrypted(folder):
    return read_private_key(folder / 'robot_1.key').private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b'secret'))


@pytest.mark.parametrize('content', [lambda folder: b'', lambda folder: b'\xff\x00', lambda folder: x25519_key(),
                                     lambda folder: (folder / 'robot_1.key').read_bytes()[:60], encrypted])
def test_malformed_private_keys_are_named(folder, content):
    (folder / 'robot_1.key').write_bytes(content(folder))
    assert f'{folder / "robot_1.key"}: is ' in refusal(folder)


@pytest.mark.parametrize('content', [b'', b'12', b'\xff' * 64, b'z' * 64, b'0' * 62, b'0' * 66])
def test_malformed_group_keys_are_named(folder, content):
    (folder / 'group.key').write_bytes(content)
    assert f'{folder / "group.key"}: is not 64 hexadecimal digits' in refusal(folder)


def test_the_group_key_of_another_fleet_is_named(folder, tmp_path):
    make_keys(tmp_path / 'other', NAMES)
    (folder / 'group.key').write_bytes((tmp_path / 'other' / 'group.key').read_bytes())
    assert 'group.key: is not the group key that fleet.keys.yaml names' in refusal(folder)


@pytest.mark.parametrize(('old', 'new', 'words'), [
    ('members:', 'membrs:', ['group', 'members', 'membrs']), ('  robot_1:', '  robot_9:', ['robot_1', 'no member']),
    ('key: ', 'key: A', ['base64']), ('fingerprint: SHA256:', 'fingerprint: SHA256:x', ['fingerprint']),
    ('fingerprint:', 'print:', ['fingerprint']), ('group:', '{', ['YAML'])])
def test_mistakes_in_the_list_of_members_are_named(folder, old, new, words):
    path = folder / 'fleet.keys.yaml'
    path.write_text(path.read_text().replace(old, new))
    message = refusal(folder)
    for word in [str(path), *words]:
        assert word in message


def test_no_error_shows_a_secret(folder):
    key = (folder / 'group.key').read_text().strip()
    (folder / 'group.key').write_text(f'{key}00')
    assert key not in refusal(folder)


@pytest.mark.parametrize(('mode', 'words'), [('', ['not set', 'plain', 'signed', 'keys_path']), ('none', ["'none'"])])
def test_the_mode_must_be_chosen(folder, mode, words):
    for word in words:
        assert word in refusal(folder, mode=mode)


def test_protection_needs_a_folder():
    with pytest.raises(ConfigError, match='keys_path'):
        load_seal('signed', '', 'robot_1')


def test_who_is_a_member():
    fleet = Fleet({'a': RobotEntry(), 'b': RobotEntry()}, map=MapEntry(name='atlas'))
    assert member_names(fleet) == ('a', 'b', 'atlas')
    assert member_names(Fleet({'a': RobotEntry()}, map=MapEntry(enabled=False)), ['spare']) == ('a', 'spare')


@pytest.mark.parametrize('name', [GROUP, '../a', 'a.b', '', 'a b'])
def test_names_that_are_no_file_names_have_no_keys(name):
    with pytest.raises(ConfigError, match='cannot have a key'):
        member_names(Fleet({'a': RobotEntry()}), [name])


@pytest.fixture
def fleet_file(tmp_path):
    path = tmp_path / 'fleet.yaml'
    path.write_text('robots: {a: {}, b: {}}\nsimulation: {}\nsecurity: {mode: signed, keys: secret}\n')
    return str(path)


def test_the_command_makes_keys_beside_the_fleet_file(fleet_file, tmp_path, capsys):
    assert main(['keys', '--fleet', fleet_file]) == 0
    said = capsys.readouterr().out
    assert f'{tmp_path / "secret"}: 4 new keys, 3 members' in said
    assert '  b      b.key, group.key, fleet.keys.yaml\n' in said
    assert main(['keys', '--fleet', fleet_file]) == 0
    assert '0 new keys' in capsys.readouterr().out
    assert main(['keys', '--fleet', fleet_file, '--rotate', 'b', '--also', 'spare']) == 0
    assert '2 new keys, 4 members' in capsys.readouterr().out
    assert main(['check', fleet_file]) == 0


def test_the_command_names_mistakes(fleet_file, tmp_path, capsys):
    assert main(['keys', '--fleet', fleet_file, '--rotate', 'c']) == 2
    assert '--rotate c: no such member' in capsys.readouterr().err
    (tmp_path / 'file').touch()
    assert main(['keys', '--fleet', fleet_file, '--out', str(tmp_path / 'file')]) == 2
    assert f'{tmp_path / "file"}: cannot be written' in capsys.readouterr().err
    (tmp_path / 'plain.yaml').write_text('robots: {a: {}}\nsecurity: {mode: plain}')
    assert main(['keys', '--fleet', str(tmp_path / 'plain.yaml')]) == 2
    assert '--out' in capsys.readouterr().err
    assert main(['keys', '--fleet', str(tmp_path / 'plain.yaml'), '--out', str(tmp_path / 'early')]) == 0
    assert 'not used' in capsys.readouterr().out


def test_the_command_writes_the_policy_and_no_keys(fleet_file, tmp_path):
    assert main(['keys', '--fleet', fleet_file, '--sros2-policy', str(tmp_path / 'policy.xml')]) == 0
    assert '<enclave path="/b/robot">' in (tmp_path / 'policy.xml').read_text()
    assert not (tmp_path / 'secret').exists()
