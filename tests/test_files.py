from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from tvrkit.files import absolute, atomic_path, write_json, write_text


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_the_file_has_the_mode_that_any_new_file_has(tmp_path):
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain")]
    assert modes[0] == modes[1]


@pytest.mark.slow
def test_a_reader_never_sees_half_a_file_of_a_killed_writer(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "0" * 1_000_000)
    code = (
        "import sys, itertools\nfrom tvrkit.files import write_text\n"
        "print('up', flush=True)\n"
        "for i in itertools.count(): write_text(sys.argv[1], str(i % 10) * 1_000_000)"
    )
    for delay in (0.05, 0.11, 0.17):
        writer = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(delay)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        content = target.read_text()
        assert len(content) == 1_000_000
        assert len(set(content)) == 1
    assert os.path.exists(target)


def test_an_absolute_path_has_no_dots_unless_they_lead_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/link").symlink_to(tmp_path / "a/b")
    monkeypatch.chdir(tmp_path / "c")
    assert absolute("../a/./b/..") == tmp_path / "a"
    assert absolute("link") == tmp_path / "c/link"
    assert str(absolute("link/..")) == f"{tmp_path}/c/link/.."  # a, not c
    assert str(absolute("../none")) == f"{tmp_path}/c/../none"
