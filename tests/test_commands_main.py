# SPDX-License-Identifier: Apache-2.0
"""What a caller of ``lagr`` sees: exit codes and one line for what went wrong."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import lagr as in_process

from perception.commands import demo, main
from perception.commands.outputs import check_outputs
from perception.errors import BagError


def lagr(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    code = 'from perception.commands.main import main; main()'
    return subprocess.run([sys.executable, '-c', code, *arguments], cwd=cwd, text=True,
                          capture_output=True, check=False, timeout=120)


def raising(error: BaseException) -> int:
    """Exit code of ``main`` where a command raises this."""
    def fail() -> None:
        raise error
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, 'app', fail)
        with pytest.raises(SystemExit) as end:
            main.main()
    return int(end.value.code)


def test_help_lists_every_command() -> None:
    done = lagr('--help')
    assert done.returncode == 0
    assert done.stderr == ''
    for name in ('demo', 'replay', 'world', 'train', 'evaluate', 'export', 'bench'):
        assert f'\n  {name} ' in done.stdout


@pytest.mark.parametrize('arguments', [
    ('fly',), ('replay',), ('replay', 'x', '--out', 'y', '--max-frames', 'many'),
    ('bench', '--json', 'x', '--rounds', '0'), ('--colour', 'demo'),
])
def test_bad_usage_exits_2(arguments: tuple[str, ...]) -> None:
    done = lagr(*arguments)
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    assert 'Error:' in done.stderr


def test_bad_input_exits_1_with_one_line(tmp_path: Path) -> None:
    missing = tmp_path / 'no such bag'
    done = lagr('replay', str(missing), '--out', str(tmp_path / 'out'))
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith('lagr: error: ')
    assert str(missing) in line


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path, capsys) -> None:
    for command in (('traversability', 'none'), ('scene', '--data', 'none', '--split', 'test',
                                                 '--network', 'none.onnx')):
        assert in_process('evaluate', *command, '--json', str(tmp_path)) == 1
        assert f'{tmp_path}: Is a directory' in capsys.readouterr().err
    old, new = tmp_path / 'old.json', tmp_path / 'folder' / 'new.json'
    old.write_text('{}')
    check_outputs(old, None, new)
    assert old.read_text() == '{}'
    assert new.parent.is_dir()
    assert not new.exists()


def test_sigterm_ends_like_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert in_process('--help') == 0
        handler = signal.getsignal(signal.SIGTERM)
        assert callable(handler)
        with pytest.raises(SystemExit, match='143'):
            handler(signal.SIGTERM, None)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    done = lagr('replay', 'bag', '--out', str(tmp_path), '--set', 'stereo.blocks=5')
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert 'stereo.blocks' in line
    assert 'block_px' in line


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    done = lagr('bench', '--rounds', '5', '--json', str(tmp_path / 'file' / 'bench.json'))
    assert done.returncode == 1
    assert str(tmp_path / 'file') in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(('module', 'extra'), [
    ('moderngl', 'world'), ('torch', 'train'), ('torch.nn', 'train'), ('onnxscript', 'train'),
])
def test_a_missing_extra_is_named(
    module: str, extra: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(ModuleNotFoundError(f'No module named {module!r}', name=module)) == 1
    assert f"pip install 'lagr_perception[{extra}]'" in capsys.readouterr().err


def test_a_message_of_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(BagError('bag/x:\n  cut short;\n  record it again')) == 1
    assert capsys.readouterr().err == 'lagr: error: bag/x: cut short; record it again\n'


def test_bugs_keep_their_traceback() -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(main, 'app', lambda: 1 // 0)
        main.main()


def test_a_missing_module_of_our_own_is_a_bug() -> None:
    def fail() -> None:
        raise ModuleNotFoundError('No module named perception.bug', name='perception.bug')
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ModuleNotFoundError):
        patch.setattr(main, 'app', fail)
        main.main()


def test_ctrl_c_exits_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt
    monkeypatch.setattr('perception.bench.run_bench', interrupted)
    monkeypatch.setattr(sys, 'argv', ['lagr', 'bench', '--json', str(tmp_path / 'bench.json')])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 130


def test_the_demo_needs_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, '__file__', str(tmp_path / 'a' / 'b' / 'demo.py'))
    with pytest.raises(BagError, match='checkout'):
        demo.find_demo_bag()
    (tmp_path / demo.BAG).mkdir(parents=True)
    assert demo.find_demo_bag() == tmp_path / demo.BAG
