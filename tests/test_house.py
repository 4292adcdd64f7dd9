"""What holds for the whole house: floors, documentation that is true, safe loading, nothing of anybody's machine."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys

import click
import pytest
from support import REPO

from tvrkit.cli import COMMANDS, cli

MODULES = sorted((REPO / "tvrkit").rglob("*.py"))
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").glob("*.md"))]


def repository_files():
    """What git tracks, or, in a copy without git, every text file that is ours."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [REPO / name for name in listed.stdout.split("\0") if name and (REPO / name).is_file()]
    folders = ("tvrkit", "tests", "docs", "examples", "benchmarks", ".ci")
    return [path for folder in folders for path in (REPO / folder).rglob("*") if path.is_file()]


def test_floors_hold():
    """A module imports only from floors below its own (pyproject.toml, tool.importlinter)."""
    pytest.importorskip("importlinter")
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def commands(command=cli, context=None, name="tvrkit"):
    """(context, command) of every command and group."""
    context = click.Context(command, info_name=name, parent=context)
    yield context, command
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            yield from commands(command.get_command(context, sub), context, sub)


def parse(line):
    """Parse a `tvrkit …` line as the program would, without running it; an error is a test failure."""
    words = shlex.split(line, comments=True)
    assert words.pop(0) == "tvrkit"
    command, context = cli, click.Context(cli, info_name="tvrkit")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        sub = command.get_command(context, name)
        assert sub is not None, f"{line}: there is no command {name}"
        command, context = sub, click.Context(sub, info_name=name, parent=context)
    if "--help" in words or "--version" in words:
        return
    try:
        command.make_context(context.info_name, words, parent=context.parent)
    except click.UsageError as error:
        missing = isinstance(error, click.BadParameter) and isinstance(getattr(error.param, "type", None), click.Path)
        if missing and "does not exist" in error.message:
            return  # the reader's own files
        pytest.fail(f"{line}: {error.format_message()}")


def test_every_help_page_ends_with_an_example_that_parses():
    for context, command in commands():
        page = command.get_help(context)
        assert max(map(len, page.splitlines())) <= 80, f"{context.command_path} --help is wider than 80 columns"
        paragraphs = inspect.cleandoc(command.help or "").split("\b\n")
        assert len(paragraphs) > 1, f"{context.command_path} --help has no example"
        lines = paragraphs[-1].replace("\\\n", " ").splitlines()
        examples = [line.strip() for line in lines if line.strip().startswith("tvrkit ")]
        assert lines[0].startswith("Example"), f"{context.command_path} --help does not end with its example"
        assert examples, f"{context.command_path} --help has no example"
        for line in examples:
            parse(line)


def test_every_command_has_a_module_and_stands_in_the_docs():
    text = (REPO / "docs/cli.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert (REPO / f"tvrkit/cli/{name}.py").is_file()
    for context, _ in commands():
        assert f"## {context.command_path}\n" in text


def test_docs_show_the_help_pages_of_today():
    # In a process of its own: click keeps a command's help option as the first test that ran the command alone made it.
    code = "import runpy; print(runpy.run_path('docs/generate.py')['text']())"
    run = [sys.executable, "-X", "utf8", "-c", code]
    done = subprocess.run(run, cwd=REPO, capture_output=True, encoding="utf-8", check=True)
    # Line breaks may differ between versions of click; the words may not.
    written = (REPO / "docs/cli.md").read_text(encoding="utf-8")
    assert written.split() == done.stdout.split(), "docs/cli.md is out of date: run `make fix`"


def shell_lines(text):
    for block in re.findall(r"```(?:bash|shell|console)\n(.*?)```", text, re.DOTALL):
        yield from (line.strip().removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_the_pages_are_true(page):
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    for line in shell_lines(page.read_text(encoding="utf-8")):
        if line.startswith("tvrkit "):
            parse(line)
        if line.startswith("make "):
            assert line.split()[1] in targets, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_on_the_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_pages_that_the_code_names_are_there():
    for path in (REPO / "tvrkit").rglob("*.*"):
        if path.suffix in (".py", ".yaml", ".md"):
            for name in re.findall(r"docs/[\w/]+\.md", path.read_text(encoding="utf-8")):
                assert (REPO / name).is_file(), f"{path.relative_to(REPO)} sends its reader to {name}"
    listed = (REPO / "docs/index.md").read_text(encoding="utf-8")
    for page in (REPO / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in listed, f"docs/index.md does not list {page.name}"


def test_every_example_is_run_by_a_test():
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (REPO / "tests").rglob("test_*.py"))
    examples = [path for path in (REPO / "examples").iterdir() if path.suffix in (".py", ".sh")]
    assert examples
    for path in examples:
        assert path.name in tests, f"no test runs examples/{path.name}"


def test_every_dependency_has_its_row():
    text = (REPO / "pyproject.toml").read_text(encoding="utf-8")
    main = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE).group(1)
    extras = re.search(r"^\[project.optional-dependencies\]\n(.*?)^\[", text, re.DOTALL | re.MULTILINE).group(1)
    names = re.findall(r'"([A-Za-z][A-Za-z0-9_-]*)', re.sub(r"#.*", "", main + extras))
    page = (REPO / "docs/dependencies.md").read_text(encoding="utf-8")
    assert "torch" in names
    for name in set(names) - {"tvrkit"}:
        assert re.search(rf"\b{re.escape(name)}\b", page), f"docs/dependencies.md says nothing about {name}"


def test_torch_has_no_upper_bound():
    text = (REPO / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in re.findall(r'"((?:torch|torchvision)[<>=~!][^"]*)"', text):
        assert not re.search(r"[<~]|==", requirement), f"{requirement}: see docs/install.md"


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPO)))
def test_nothing_is_loaded_that_could_run_code(path):
    """Checkpoints, weights and YAML come from strangers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not imported & {"dill", "joblib", "marshal", "shelve"}
    for name, keywords in calls(tree):
        if name == "torch.load":
            assert keywords.get("weights_only") == "True", f"{path}: torch.load without weights_only=True"
        if name in ("np.load", "numpy.load"):
            assert keywords.get("allow_pickle", "False") == "False"
        # Pickles are read from our own worker processes, and else by a subclass of Unpickler that names what it admits.
        if path.relative_to(REPO).as_posix() not in ("tvrkit/frames/wire.py", "tvrkit/frames/worker.py"):
            assert name not in ("pickle.load", "pickle.loads", "pickle.Unpickler")
        assert name not in ("yaml.load", "yaml.unsafe_load")
        assert name not in ("eval", "exec", "os.system")
        assert keywords.get("shell") != "True"


def test_nothing_of_anybodys_machine():
    """No path of a machine that the code was written on, and no note to oneself."""
    private = [
        "/" + "work/", "/" + "root/", "/opt/" + "pypi", "/opt/" + "wheels", "/" + "home/", "." + "pyenv",
        "." + "library", "TO" + "DO", "FIX" + "ME", "XX" + "X",
    ]  # fmt: skip
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights, fonts
        for word in private:
            assert word not in text, f"{path.relative_to(REPO)} holds {word!r}"
