"""Sources of settings: variables of other programs, empty ones, files and TOML."""

from __future__ import annotations

import pytest

from roundel_service.settings import ConfigError, load, load_some

KEY = "0123456789abcdef"
SECRET = "s" * 32
KEYS = {"ROUNDEL_PRODUCER_KEYS": KEY, "ROUNDEL_JWT_SECRET": SECRET}


def refused(flags=None, environment=None, file=None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        load(flags or {}, {**KEYS, **(environment or {})}, file)
    return error.value.lines


def toml(folder, text: str):
    """Return a TOML file with *text*."""
    file = folder / "roundel.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ROUNDEL_PNIG", "ROUNDEL_PING"),
        ("ROUNDEL_PIN", "ROUNDEL_PING"),
        ("ROUNDEL_BINDING", None),
        ("ROUNDEL_BINDS", "ROUNDEL_BIND"),
        ("ROUNDEL_bind", "ROUNDEL_BIND"),
        ("ROUNDEL_OPSBIND", "ROUNDEL_OPS_BIND"),
        ("ROUNDEL_CORS_ORIGIN", "ROUNDEL_CORS_ORIGINS"),
        ("ROUNDEL_JWT_SECRET_FIEL", "ROUNDEL_JWT_SECRET_FILE"),
        ("ROUNDEL_PRODUCER_KEY", "ROUNDEL_PRODUCER_KEYS"),
        ("ROUNDEL__ENGINE", "ROUNDEL_ENGINE"),
        ("ROUNDEL_ULR", "ROUNDEL_URL"),
    ],
)
def test_misspelt_variable_is_refused_with_the_known_name(name, meant):
    """A variable within two edits of a setting is a mistake, and not ignored."""
    if meant is None:
        assert load({}, {**KEYS, name: "1"})
    else:
        (line,) = refused(environment={name: "1"})
        expected = f"{name} (environment): unknown setting, did you mean {meant}?"
        assert expected == line


@pytest.mark.parametrize(
    "name",
    [
        "ROUNDEL_VERSION",
        "ROUNDEL_SERVICE_HOST",
        "ROUNDEL_SERVICE_PORT",
        "ROUNDEL_SERVICE_PORT_HTTP",
        "ROUNDEL_PORT",
        "ROUNDEL_PORT_8080_TCP",
        "ROUNDEL_PORT_8080_TCP_PROTO",
        "ROUNDEL_PORT_8080_TCP_PORT",
        "ROUNDEL_PORT_8080_TCP_ADDR",
        "ROUNDEL_PORT_53_UDP",
        "ROUNDEL_OPS_SERVICE_HOST",
        "ROUNDEL_OPS_PORT_9180_TCP_ADDR",
        "ROUNDEL_URL",
        "ROUNDEL_",
        "ROUNDELS_BIND",
        "OTHER_ROUNDEL_BIND",
    ],
)
def test_variable_of_another_program_is_ignored(name):
    """Kubernetes sets variables in each pod beside a Service named roundel."""
    environment = {**KEYS, name: "tcp://10.0.0.1:8080"}

    assert load({}, KEYS) == load({}, environment)
    assert load_some(("engine",), environment)


def test_unknown_flag_and_key_of_the_file_are_refused(tmp_path):
    """The file and the flags are for this service only, so each name must be known."""
    file = toml(tmp_path, "pong = 1\nservice_port = 1\nPING = 1\n[roundel]\nping = 1")
    lines = refused({"colour": "red"}, file=file)

    assert "ROUNDEL_COLOUR (flag): unknown setting, expected one of " in lines[0]
    ping = "unknown setting, did you mean ROUNDEL_PING?"
    assert f"ROUNDEL_PONG ({file}): {ping}" == lines[1]
    assert f"ROUNDEL_SERVICE_PORT ({file}): unknown setting, expected " in lines[2]
    assert f"PING ({file}): unknown setting, expected ping" == lines[3]
    assert f"ROUNDEL_ROUNDEL ({file}): unknown setting, " in lines[4]


@pytest.mark.parametrize("empty", ["", "\n", "\r\n"])
def test_empty_variable_is_unset(tmp_path, empty):
    """A template that fills in nothing has the same effect as no variable."""
    names = ["JWKS", "JWT_AUDIENCE", "JWT_ISSUER", "CORS_ORIGINS", "ENGINE", "PING"]
    names += ["BIND", "WORKERS", "LOG_LEVEL", "JWT_SECRET_FILE", "PNIG"]
    environment = {f"ROUNDEL_{name}": empty for name in names}
    file = toml(tmp_path, "ping = 7")

    assert load({}, KEYS, file) == load({}, {**KEYS, **environment}, file)


@pytest.mark.parametrize("name", ["producer_keys", "jwt_secret"])
def test_empty_secret_is_not_set(name):
    """The error for an empty secret says that it is missing."""
    (line,) = refused(environment={f"ROUNDEL_{name.upper()}": ""})

    assert "not set" in line or "got none" in line


def test_only_the_operators_listener_is_disabled_by_an_empty_value(tmp_path):
    """An empty ROUNDEL_OPS_BIND means no listener, from each source."""
    none = toml(tmp_path, 'ops_bind = ""')

    assert () == load({}, {**KEYS, "ROUNDEL_OPS_BIND": ""}).ops_bind
    assert () == load({"ops_bind": ""}, KEYS).ops_bind
    assert () == load({}, KEYS, none).ops_bind
    assert ["127.0.0.1:9180"] == [*map(str, load({}, KEYS).ops_bind)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_line_end_is_no_part_of_a_value(tmp_path, end):
    """`echo`, editors and env files of Windows append one line end."""
    environment = {name: value + end for name, value in KEYS.items()}
    audience = {"ROUNDEL_JWT_AUDIENCE": f"app{end}"}
    settings = load({}, {**environment, **audience})

    assert (KEY,) == settings.producer_keys
    assert (SECRET,) == settings.jwt_secret
    assert settings.jwt_audience == load({}, {**KEYS, **audience}).jwt_audience


def test_only_one_line_end_is_dropped():
    """The rest of a secret stays as it is, white space included."""
    environment = {"ROUNDEL_JWT_SECRET": f" {SECRET} \n\n"}

    assert load({}, {**KEYS, **environment}).jwt_secret == (f" {SECRET} \n",)


@pytest.mark.parametrize(
    "content",
    [SECRET, f"{SECRET}\n", f"{SECRET}\r\n", f"\N{ZERO WIDTH NO-BREAK SPACE}{SECRET}"],
    ids=["bare", "lf", "crlf", "bom"],
)
def test_secrets_are_read_from_files(tmp_path, content):
    """A file has the secret, and perhaps one line end, which is dropped."""
    secret, keys = tmp_path / "secret", tmp_path / "keys"
    secret.write_bytes(content.encode())
    keys.write_text(f"{KEY}, {KEY}2\n")
    environment = {
        "ROUNDEL_JWT_SECRET_FILE": f"{secret}\n",
        "ROUNDEL_PRODUCER_KEYS_FILE": str(keys),
    }
    settings = load({}, environment)

    assert (SECRET,) == settings.jwt_secret
    assert (KEY, f"{KEY}2") == settings.producer_keys


def test_file_of_a_secret_is_named_in_toml_too(tmp_path):
    """The variable with the secret overrides the file that TOML names."""
    secret = tmp_path / "secret"
    secret.write_text("t" * 32)
    file = toml(tmp_path, f'jwt_secret_file = "{secret}"')
    keys = {"ROUNDEL_PRODUCER_KEYS": KEY}

    assert ("t" * 32,) == load({}, keys, file).jwt_secret
    assert (SECRET,) == load({}, KEYS, file).jwt_secret


def test_secret_and_its_file_are_not_set_together(tmp_path):
    """With both, it would be unclear which one is in force."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    (line,) = refused(environment={"ROUNDEL_JWT_SECRET_FILE": str(secret)})

    assert line == (
        "ROUNDEL_JWT_SECRET, ROUNDEL_JWT_SECRET_FILE (environment): expected one of "
        "them, got both"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"\xef\xbb\xbf\r\n", "the file is empty"),
        (b"\xff" * 32, "expected text in UTF-8"),
        (b"s" * 70_000, "expected at most 65536 bytes"),
    ],
    ids=["missing", "empty", "line-end", "bom", "binary", "long"],
)
def test_unfit_file_of_a_secret_is_refused(tmp_path, content, reason):
    """The error names the variable, the file and the reason."""
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    environment = {"ROUNDEL_JWT_SECRET": "", "ROUNDEL_JWT_SECRET_FILE": str(secret)}
    (line,) = refused(environment=environment)

    assert f"ROUNDEL_JWT_SECRET_FILE (environment): {str(secret)!r}: {reason}" == line


@pytest.mark.parametrize("path", ["/", "/no\0such"], ids=["folder", "nul"])
def test_unfit_path_of_a_secret_is_refused(path):
    """A folder has no secret."""
    environment = {"ROUNDEL_JWT_SECRET": "", "ROUNDEL_JWT_SECRET_FILE": path}
    (line,) = refused(environment=environment)

    assert ": cannot be read: " in line


def test_short_secret_in_a_file_is_refused_and_not_shown(tmp_path):
    """A secret of a file has the same bounds, and is not shown either."""
    secret = tmp_path / "secret"
    secret.write_text("short-secret")
    environment = {"ROUNDEL_JWT_SECRET": "", "ROUNDEL_JWT_SECRET_FILE": str(secret)}
    (line,) = refused(environment=environment)

    assert line.startswith("ROUNDEL_JWT_SECRET_FILE (environment): expected secrets")
    assert "short-secret" not in line


@pytest.mark.parametrize(
    "text",
    [
        "bind = ",
        "bind = true",
        "bind = 8080",
        "ping = [1]",
        "ping = true",
        "ping = 2026-11-29",
        "workers = 1.0",
        'workers = "one"',
        "engine = 1",
        'engine = ["memory"]',
        "producer_keys = 1234567890123456",
        "producer_keys = []",
        f'producer_keys = ["{KEY},{KEY}"]',
        f'producer_keys = ["{KEY}", 1]',
        "jwt_audience = 1",
        'jwt_issuer = ""',
        "[ping]\nseconds = 1",
        "[bind]",
        pytest.param(f"ping = {'[' * 5000}{']' * 5000}", id="deep"),
        pytest.param(f"ping = 0x{'f' * 5000}", id="long hexadecimal"),
        pytest.param(f"ping = {'9' * 5000}", id="long"),
        pytest.param(f"ping = [0x{'f' * 5000}]", id="long in a list"),
    ],
)
def test_bad_file_is_refused(tmp_path, text):
    """The error for an invalid file or value names the file."""
    file = toml(tmp_path, text)
    environment = {"ROUNDEL_PRODUCER_KEYS": ""} if "producer_keys" in text else {}

    assert str(file) in refused(environment=environment, file=file)[0]


def test_missing_file_is_refused(tmp_path):
    """The file of `--config` must exist."""
    line, *_ = refused(file=tmp_path / "none.toml")

    assert line.endswith("none.toml: expected a TOML file: No such file or directory")


def test_file_may_begin_with_a_byte_order_mark(tmp_path):
    """Editors of Windows write one."""
    file = toml(tmp_path, "\N{ZERO WIDTH NO-BREAK SPACE}ping = 7")

    assert 7 == load({}, KEYS, file).ping


def test_lists_are_read_from_text_and_from_toml(tmp_path):
    """A list is a text with commas, or a list in TOML."""
    origins = "https://a.example", "http://localhost:3000"
    file = toml(tmp_path, f"cors_origins = {[*origins]}")
    text = {"ROUNDEL_CORS_ORIGINS": ", ".join(origins)}

    assert origins == load({}, {**KEYS, **text}).cors_origins
    assert origins == load({}, KEYS, file).cors_origins


def test_list_can_be_empty_in_toml(tmp_path):
    """An empty list means no origin."""
    file = toml(tmp_path, "cors_origins = []")

    assert () == load({}, KEYS, file).cors_origins


def test_numbers_may_be_texts_in_toml(tmp_path):
    """A number between quotes is read as from the environment."""
    file = toml(tmp_path, 'ping = "7.5"\nworkers = "1"')

    assert (7.5, 1) == (load({}, KEYS, file).ping, load({}, KEYS, file).workers)
