"""The pages as a site, and the tutorial as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPO, clean_environment

BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_no_link_leads_nowhere(tmp_path):
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=REPO,
        env=clean_environment(tmp_path, NO_MKDOCS_2_WARNING="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "site").glob("*.html")}
    # Nothing is fetched from elsewhere to read a page.
    for name, page in pages.items():
        outside = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', page)
        assert not [url for url in outside if "canonical" not in url], name
    assert "load_model" in pages["api.html"] and "triplet_partial_margin" in pages["api.html"]
    assert 'href="repository/examples/score.py"' in pages["api.html"]


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path):
    page = (REPO / "docs/tutorial.md").read_text(encoding="utf-8")
    lines = [line for block in BLOCK.findall(page) for line in block.splitlines() if line]
    command = tmp_path / "bin/tvrkit"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tvrkit "$@"\n')
    command.chmod(0o755)
    (tmp_path / "examples").symlink_to(REPO / "examples")
    env = clean_environment(tmp_path)
    env["PATH"] = os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), env["PATH"]])
    printed = ""
    for line in lines:
        # Fewer steps than on the page, where the numbers are of the page's own.
        line = line.replace("train.max_steps=150", "train.max_steps=20")
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
        printed += done.stdout
    assert len(lines) == 8 and "python examples/shapes_as_clips.py" in lines
    assert re.search(r"t2v: 100 captions look for their video among 100", printed)
    assert len(re.findall(r" clips/(?:train|val|test)-\S+\.mp4 ", printed)) == 3
