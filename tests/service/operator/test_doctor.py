"""`roundel doctor`: the checks of an engine, and the command."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from roundel_service.cli.main import main
from roundel_service.engines.valkey.metadata import LAYOUT
from roundel_service.operator.doctor import disk, examine, server_info
from roundel_service.operator.doctor.finding import latency
from support import valkey_server
from support.sqlite_files import OLD_FILE, execute

AOF = {"aof_enabled": "1", "aof_last_write_status": "ok"}
PRIMARY = {"role": "master", "redis_version": "7.0.15", "used_memory": "1000", **AOF}

INFO = [
    pytest.param({}, "durability", "ok", "last second", id="append-only"),
    pytest.param({"appendfsync": "always"}, "durability", "ok", "power", id="always"),
    pytest.param(
        {"appendfsync": "no"}, "durability", "warning", "everysec", id="no fsync"
    ),
    pytest.param(
        {"aof_last_write_status": "err"}, "durability", "failure", "written",
        id="append-only file fails",
    ),
    pytest.param(
        {"aof_enabled": "0", "save": "3600 1"}, "durability", "warning", "3600 1",
        id="only snapshots",
    ),
    pytest.param(
        {"aof_enabled": "0", "save": ""}, "durability", "failure", "everything",
        id="no persistence",
    ),
    pytest.param({"maxmemory": "0"}, "eviction", "ok", "unlimited", id="no limit"),
    pytest.param(
        {"maxmemory": "9", "maxmemory-policy": "noeviction"}, "eviction", "ok", "503",
        id="limit",
    ),
    pytest.param(
        {"maxmemory": "9", "maxmemory-policy": "allkeys-lru"}, "eviction", "failure",
        "noeviction", id="evicts",
    ),
    pytest.param(
        {"maxmemory": "9", "maxmemory_policy": "volatile-ttl"}, "eviction", "failure",
        "volatile-ttl", id="evicts, without CONFIG GET",
    ),
    pytest.param({}, "replicas", "warning", "none", id="no replica"),
    pytest.param(
        {"connected_slaves": "2"}, "replicas", "warning", "min-replicas-to-write",
        id="replicas",
    ),
    pytest.param(
        {"connected_slaves": "2", "min-replicas-to-write": "1"}, "replicas", "ok",
        "reset", id="min-replicas-to-write",
    ),
    pytest.param({}, "engine", "ok", "redis 7.0.15 at HOST", id="redis"),
    pytest.param(
        {"valkey_version": "9.1.2"}, "engine", "ok", "valkey 9.1.2", id="valkey"
    ),
    pytest.param(
        {"role": "slave"}, "engine", "failure", "expected a primary", id="a replica"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("info", "subject", "level", "word"), INFO)
def test_server_info(info, subject, level, word):
    """Each way to lose acknowledged writes is a finding that names a setting."""
    found = server_info.check_server({**PRIMARY, **info}, "HOST", 0.0)
    findings = {finding.subject: finding for finding in found}

    assert level == findings[subject].level
    assert word in findings[subject].message


@pytest.mark.parametrize(("offset", "has_warning"), [(4.0, False), (-9.0, True)])
def test_clock_offset(offset, has_warning):
    """A clock that is more than 5 seconds off is a warning."""
    findings = server_info.check_server(PRIMARY, "HOST", offset)
    messages = [each.message for each in findings if each.subject == "clock"]

    assert has_warning == any("-9 s" in message for message in messages)


CLUSTER_NODES = """\
a1 10.0.0.1:6379@16379 master - 0 1700000000000 1 connected 0-5460
b2 10.0.0.2:6379@16379,host-b myself,master - 0 0 2 connected 5461-10922
c3 10.0.0.3:6379@16379 slave a1 0 1700000000000 1 connected
d4 [::1]:7000@17000 master,fail - 0 1700000000000 3 disconnected 10923-16383
e5 10.0.0.5:6379@16379 master - 0 1700000000000 4 connected
"""


def test_primaries_of_a_cluster():
    """Every reachable primary with slots is examined, and no other node."""
    assert [
        ("10.0.0.1", 6379),
        ("10.0.0.2", 6379),
    ] == server_info.primaries(CLUSTER_NODES)


@pytest.mark.parametrize(
    ("state", "slots", "level"),
    [("ok", "16384", "ok"), ("fail", "10923", "failure"), ("ok", "10923", "failure")],
)
def test_cluster_slots(state, slots, level):
    """A cluster that does not serve every slot is a failure."""
    text = f"cluster_state:{state}\r\ncluster_slots_ok:{slots}\r\ncluster_size:3\r\n"
    findings = server_info.check_cluster(server_info.parse_info(text))

    assert [level] == [finding.level for finding in findings]


async def test_unreachable_store():
    """An unreachable store is one failure, and its message omits the password."""
    findings = await examine("redis://user:a-password@127.0.0.1:1/0")

    assert [("failure", "engine")] == [(f.level, f.subject) for f in findings]
    assert "127.0.0.1:1" in str(findings[0])
    assert "a-password" not in str(findings[0])


async def test_memory_engine():
    """The memory engine is a warning, because a restart loses its data."""
    assert ["ok", "warning"] == [f.level for f in await examine("memory")]


def levels(path, durability: str = "full") -> dict[str, str]:
    return {f.subject: f.level for f in disk.examine(path, durability=durability)}


def test_missing_file(tmp_path):
    """A missing file is ok, and neither it nor its folder is created."""
    path = tmp_path / "deep" / "roundel.db"

    assert {"ok"} == set(levels(path).values()) - {"warning"}
    assert "warning" == levels(path, "off")["durability"]
    assert [] == list(tmp_path.iterdir())


def test_file_of_an_earlier_version(tmp_path):
    """A file of an older schema can be used, and says that it will be converted."""
    path = tmp_path / "roundel.db"
    execute(path, OLD_FILE.read_text("utf-8"))
    found = {each.subject: each for each in disk.examine(path, durability="full")}

    assert "4 users" in found["engine"].message
    assert "schema 3; the next start converts it" in found["schema"].message
    assert "ok" == found["schema"].level


@pytest.mark.parametrize(("free", "level"), [(99, "warning"), (100, "ok")])
def test_conversion_without_space(free, level):
    """A disk that may be too small for the conversion is a warning with both sizes."""
    found = disk._conversion(3, 100, free)

    assert level == found.level
    assert "100 bytes" in found.message
    assert (level == "warning") == ("99 are free" in found.message)


def test_file_of_a_later_version(tmp_path):
    """A file that this version cannot open is a failure, as at the start."""
    path = tmp_path / "roundel.db"
    execute(path, OLD_FILE.read_text("utf-8") + "PRAGMA user_version = 99;")
    (found, *_) = disk.examine(path, durability="full")

    assert ("failure", "engine") == (found.level, found.subject)
    assert "written by a newer Roundel (schema 99" in found.message


def test_database_of_another_application(tmp_path):
    """A file of another application is a failure that says so."""
    path = tmp_path / "roundel.db"
    execute(path, "CREATE TABLE mailbox (id);")
    (found, *_) = disk.examine(path, durability="full")

    assert "failure" == found.level
    assert "another application: give another path" in found.message


def test_empty_file(tmp_path):
    """An empty file can be used."""
    (tmp_path / "roundel.db").touch()
    (found, *_) = disk.examine(tmp_path / "roundel.db", durability="full")

    assert ("ok", "engine") == (found.level, found.subject)


def test_file_that_is_not_a_database(tmp_path):
    """A file that is not a database is a failure that names the file."""
    path = tmp_path / "roundel.db"
    path.write_bytes(b"something else" * 1_000)
    findings = disk.examine(path, durability="full")

    assert ("failure", "engine") == (findings[0].level, findings[0].subject)
    assert str(path) in findings[0].message


def test_folder_that_is_a_file(tmp_path):
    """Without a folder for the database the failure is the only finding."""
    (tmp_path / "file").touch()

    assert {"engine": "failure"} == levels(tmp_path / "file" / "roundel.db")


@pytest.mark.parametrize(("seconds", "level"), [(0.001, "ok"), (0.1, "warning")])
def test_latency(seconds, level):
    """A high latency is a warning."""
    assert level == latency("a write", seconds, slow=0.01, advice="do this").level


@pytest.mark.parametrize(
    ("engine", "status", "words"),
    [
        pytest.param("memory", 0, "warning  durability", id="warning"),
        pytest.param("valkey://127.0.0.1:1", 1, "failure  engine", id="failure"),
        pytest.param("mongodb://x", 2, "ROUNDEL_ENGINE", id="unknown engine"),
    ],
)
def test_command(engine, status, words):
    """The command prints one line per finding; a failure sets exit status 1."""
    result = CliRunner().invoke(main, ["doctor", "--engine", engine])

    assert status == result.exit_code
    assert words in result.output


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_real_server(kind):
    """A real server reports every setting that the checks use."""
    with valkey_server.server(kind, "--appendonly", "yes") as server:
        findings = {each.subject: each for each in await examine(server.url)}

    assert findings["engine"].message.startswith(kind)
    assert "survive a restart" in findings["durability"].message
    assert "layout" not in findings


@pytest.mark.slow
async def test_layout():
    """A store that this version cannot read is a failure, as at the start."""
    cases = [
        (LAYOUT, "ok", LAYOUT),
        ("1.2", "ok", "stop the nodes of the old version"),
        ("9.9", "failure", f"9.9, expected {LAYOUT}"),
    ]
    with valkey_server.server("redis") as server:
        for layout, level, words in cases:
            server.execute("HSET", "roundel:meta", "layout", layout)
            findings = {each.subject: each for each in await examine(server.url)}

            assert level == findings["layout"].level
            assert words in findings["layout"].message
    assert ["ok", "ok"] == [findings[name].level for name in ("eviction", "latency")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [("maxmemory", "1", "OOM"), ("min-replicas-to-write", "1", "NOREPLICAS")],
)
async def test_server_that_refuses_writes(setting, value, code):
    """A server that refuses each write is a failure, with the reason."""
    with valkey_server.server("redis") as server:
        server.execute("CONFIG", "SET", setting, value)
        findings = {each.subject: each for each in await examine(server.url)}

    assert "failure" == findings["writes"].level
    assert code in findings["writes"].message
