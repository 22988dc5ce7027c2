"""The settings file that `roundel init` writes."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import tomllib
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner, Result

from roundel_service.cli.main import main
from roundel_service.settings import PREFIX, Settings, load


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments])


def without_comments(text: str) -> str:
    """Return the file with each setting that is a comment set."""
    return re.sub(r"^#(\w+ = )", r"\1", text, flags=re.MULTILINE)


def test_service_starts_with_the_file(folder):
    """The file has new secrets, and the default of every other setting."""
    result = init()
    settings = load({}, {}, folder / "roundel.toml")

    assert 0 == result.exit_code
    assert "roundel serve" in result.stdout
    (key,), (secret,) = settings.producer_keys, settings.jwt_secret
    assert settings == load({"producer_keys": key, "jwt_secret": secret}, {})
    assert not any(each in result.output for each in (key, secret))


def test_file_has_each_setting_with_its_default(folder):
    """A setting that is a comment has its default, and can be set by a keystroke."""
    init()
    text = (folder / "roundel.toml").read_text()

    names = re.findall(r"^#?(\w+) = ", text, re.MULTILINE)
    assert [field.name for field in attrs.fields(Settings)] == names
    everything = tomllib.loads(without_comments(text))
    none = [name for name, value in everything.items() if value == ""]
    has_none = [f.name for f in attrs.fields(Settings) if f.default in (None, ())]
    assert ["jwt_secret", *none] == has_none
    given = [f"{n} = {json.dumps(v)}" for n, v in everything.items() if v != ""]
    (folder / "all.toml").write_text("\n".join(given))
    assert load({}, {}, folder / "roundel.toml") == load({}, {}, folder / "all.toml")


def test_each_meaning_is_a_comment_above_its_setting(folder):
    """Every setting is explained."""
    init()
    blocks = (folder / "roundel.toml").read_text().split("\n\n")[1:]

    assert all(re.fullmatch(r"(# .+\n)+#?\w+ = .*\n?", block) for block in blocks)


def test_printed_commands_can_be_pasted():
    """The path of the file is one word of the shell, whatever it has in it."""
    output = init("a b's.toml").stdout

    words = [shlex.split(line) for line in output.splitlines()[1:]]
    assert ["--config", "a b's.toml"] == words[0][-2:]


def test_two_files_have_different_secrets():
    """Secrets are random, not of a template."""
    init("one.toml"), init("two.toml")
    one, two = (tomllib.loads(Path(f"{n}.toml").read_text()) for n in ("one", "two"))

    assert one["jwt_secret"] != two["jwt_secret"]
    assert one["producer_keys"] != two["producer_keys"]


def test_only_the_owner_can_read_the_file(folder):
    """The mode is 600, whatever the umask."""
    before = os.umask(0)
    try:
        init()
    finally:
        os.umask(before)

    assert 0o600 == stat.S_IMODE((folder / "roundel.toml").stat().st_mode)


def test_file_is_never_replaced_by_accident(folder):
    """An existing file stays, with its secrets, unless --force is given."""
    file = folder / "roundel.toml"
    file.write_text("ping = 7")

    refused = init()
    assert 1 == refused.exit_code
    assert "roundel: roundel.toml exists; --force" in refused.stderr
    assert "ping = 7" == file.read_text()

    assert 0 == init("--force").exit_code
    assert "jwt_secret" in file.read_text()


@pytest.mark.parametrize("target", ["no/such/folder.toml", "."])
def test_file_that_cannot_be_written_is_an_error_of_one_line(target):
    """The error names the path."""
    result = init(target)

    assert result.exit_code in (1, 2)
    assert target in result.stderr
    assert "Traceback" not in result.output


def test_symbolic_link_is_not_followed(folder):
    """A link that another user placed does not get the secrets."""
    (folder / "roundel.toml").symlink_to(folder / "elsewhere")

    assert 1 == init().exit_code
    assert not (folder / "elsewhere").exists()


def test_variables_of_the_environment_do_not_change_the_file(folder, monkeypatch):
    """The file is the same with any environment: it overrides what is in the file."""
    monkeypatch.setenv(f"{PREFIX}PING", "7")
    init()

    assert "#ping = 25" in (folder / "roundel.toml").read_text()
