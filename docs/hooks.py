"""What mkdocs needs beside docs/: the repository's files that its pages link to, where the links then lead."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPO = Path(__file__).parents[1]
PLACE = "repository"  # where files from outside docs/ lie in the site
FOLDERS = ("examples", "benchmarks")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile")
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the files, and for each folder a page that lists them."""
    for folder in FOLDERS:
        inside = sorted(p for p in (REPO / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        for path in inside:
            files.append(_file(config, path))
        parents = {path.parent for path in inside}
        for parent in parents:
            listing = "".join(f"- [{p.name}]({p.name})\n" for p in inside if p.parent == parent)
            uri = f"{PLACE}/{parent.relative_to(REPO).as_posix()}/index.md"
            title = parent.relative_to(REPO).as_posix()
            files.append(File.generated(config, uri, content=f"# {title}\n\n{listing}"))
    for name in PAGES:
        files.append(_file(config, REPO / name))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead each relative link to where its file is in the site; code blocks stay as they are."""
    uri = page.file.src_uri
    inside = uri.startswith(f"{PLACE}/")
    path = uri.removeprefix(f"{PLACE}/") if inside else f"docs/{uri}"

    def lead(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match.group()
        found = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if not (REPO / found).exists():
            return match.group()  # which mkdocs finds missing
        if (REPO / found).is_dir():
            found += "/index.md"
        place = found.removeprefix("docs/") if found.startswith("docs/") else f"{PLACE}/{found}"
        return f"{before}{os.path.relpath(place, posixpath.dirname(uri) or '.')}{anchor or ''}{after}"

    parts = []
    last = 0
    for block in CODE.finditer(markdown):
        parts += [LINK.sub(lead, markdown[last : block.start()]), block.group()]
        last = block.end()
    return "".join([*parts, LINK.sub(lead, markdown[last:])])


def _file(config: Any, path: Path) -> File:
    return File.generated(config, f"{PLACE}/{path.relative_to(REPO).as_posix()}", abs_src_path=str(path))
