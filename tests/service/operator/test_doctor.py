"""What an operator is told of an engine before it loses anything."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from roundel_service.cli.main import main
from roundel_service.operator.doctor import disk, examine
from roundel_service.operator.doctor import valkey as store
from roundel_service.operator.doctor.finding import latency
from support import valkey_server

AOF = {"aof_enabled": "1", "aof_last_write_status": "ok"}
PRIMARY = {"role": "master", "redis_version": "7.0.15", "used_memory": "1000", **AOF}

TOLD = [
    pytest.param({}, "keeps data", "ok", "last second", id="append-only"),
    pytest.param({"appendfsync": "always"}, "keeps data", "ok", "power", id="always"),
    pytest.param(
        {"appendfsync": "no"}, "keeps data", "warning", "everysec", id="never sure"
    ),
    pytest.param(
        {"aof_last_write_status": "err"}, "keeps data", "failure", "written",
        id="append-only file fails",
    ),
    pytest.param(
        {"aof_enabled": "0", "save": "3600 1"}, "keeps data", "warning", "3600 1",
        id="snapshots alone",
    ),
    pytest.param(
        {"aof_enabled": "0", "save": ""}, "keeps data", "failure", "everything",
        id="nothing",
    ),
    pytest.param({"maxmemory": "0"}, "eviction", "ok", "no bound", id="no bound"),
    pytest.param(
        {"maxmemory": "9", "maxmemory-policy": "noeviction"}, "eviction", "ok", "503",
        id="bound",
    ),
    pytest.param(
        {"maxmemory": "9", "maxmemory-policy": "allkeys-lru"}, "eviction", "failure",
        "noeviction", id="evicts",
    ),
    pytest.param(
        {"maxmemory": "9", "maxmemory_policy": "volatile-ttl"}, "eviction", "failure",
        "volatile-ttl", id="evicts, and does not tell its settings",
    ),
    pytest.param({}, "replicas", "warning", "none", id="no replica"),
    pytest.param(
        {"connected_slaves": "2"}, "replicas", "warning", "min-replicas-to-write",
        id="replicas",
    ),
    pytest.param(
        {"connected_slaves": "2", "min-replicas-to-write": "1"}, "replicas", "ok",
        "reset", id="replicas that are waited for",
    ),
    pytest.param({}, "engine", "ok", "redis 7.0.15 at HOST", id="redis"),
    pytest.param(
        {"valkey_version": "9.1.2"}, "engine", "ok", "valkey 9.1.2", id="valkey"
    ),
    pytest.param({"role": "slave"}, "engine", "failure", "no write", id="a replica"),
]  # fmt: skip


@pytest.mark.parametrize(("told", "about", "level", "word"), TOLD)
def test_store(told, about, level, word):
    """Each way to lose what was acknowledged is named, with what to set."""
    findings = {f.about: f for f in store.server({**PRIMARY, **told}, "HOST")}

    assert level == findings[about].level
    assert word in findings[about].says


@pytest.mark.parametrize(("ahead", "is_told"), [(4.0, False), (-9.0, True)])
def test_clocks(ahead, is_told):
    """A clock that is seconds off is a warning."""
    findings = store.server(PRIMARY, "HOST", ahead)

    assert is_told == any("-9 s" in f.says for f in findings if f.about == "clock")


CLUSTER_NODES = """\
a1 10.0.0.1:6379@16379 master - 0 1700000000000 1 connected 0-5460
b2 10.0.0.2:6379@16379,host-b myself,master - 0 0 2 connected 5461-10922
c3 10.0.0.3:6379@16379 slave a1 0 1700000000000 1 connected
d4 [::1]:7000@17000 master,fail - 0 1700000000000 3 disconnected 10923-16383
e5 10.0.0.5:6379@16379 master - 0 1700000000000 4 connected
"""


def test_primaries_of_a_cluster():
    """Each that serves slots is looked at, and no other."""
    assert [
        ("10.0.0.1", 6379),
        ("10.0.0.2", 6379),
    ] == store.primaries(CLUSTER_NODES)


@pytest.mark.parametrize(
    ("state", "slots", "level"),
    [("ok", "16384", "ok"), ("fail", "10923", "failure"), ("ok", "10923", "failure")],
)
def test_cluster(state, slots, level):
    """A cluster that does not serve every slot refuses some users."""
    info = f"cluster_state:{state}\r\ncluster_slots_ok:{slots}\r\ncluster_size:3\r\n"

    assert [level] == [finding.level for finding in store.cluster(store.parsed(info))]


async def test_store_that_is_not_there():
    """It is one finding, without the password."""
    findings = await examine("redis://user:a-password@127.0.0.1:1/0")

    assert [("failure", "engine")] == [(f.level, f.about) for f in findings]
    assert "127.0.0.1:1" in str(findings[0])
    assert "a-password" not in str(findings[0])


async def test_memory():
    """It says for how long it keeps what."""
    assert ["ok", "warning"] == [f.level for f in await examine("memory")]


def levels(path, durability: str = "full") -> dict[str, str]:
    return {f.about: f.level for f in disk.examine(path, durability=durability)}


def test_file_that_is_not_there(tmp_path):
    """The folder and its disk are looked at, and nothing is made."""
    path = tmp_path / "deep" / "roundel.db"

    assert {"ok"} == set(levels(path).values()) - {"warning"}
    assert "warning" == levels(path, "off")["keeps data"]
    assert [] == list(tmp_path.iterdir())


def test_file_that_is_none(tmp_path):
    """What is no database is a failure that names it."""
    path = tmp_path / "roundel.db"
    path.write_bytes(b"something else" * 1_000)
    findings = disk.examine(path, durability="full")

    assert ("failure", "engine") == (findings[0].level, findings[0].about)
    assert str(path) in findings[0].says


def test_folder_that_is_none(tmp_path):
    """It is the only finding: nothing else counts then."""
    (tmp_path / "file").touch()

    assert {"engine": "failure"} == levels(tmp_path / "file" / "roundel.db")


@pytest.mark.parametrize(("seconds", "level"), [(0.001, "ok"), (0.1, "warning")])
def test_latency(seconds, level):
    """What takes long is said to, with what to do."""
    assert level == latency("it", seconds, slow=0.01, advice="do this").level


@pytest.mark.parametrize(
    ("engine", "status", "words"),
    [
        pytest.param("memory", 0, "warning  keeps data", id="a warning"),
        pytest.param("valkey://127.0.0.1:1", 1, "failure  engine", id="a failure"),
        pytest.param("mongodb://x", 2, "ROUNDEL_ENGINE", id="no engine"),
    ],
)
def test_command(engine, status, words):
    """A line for each finding; a failure is the exit status, too."""
    result = CliRunner().invoke(main, ["doctor", "--engine", engine])

    assert status == result.exit_code
    assert words in result.output


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_server(kind):
    """A real one tells what is looked for."""
    with valkey_server.server(kind, "--appendonly", "yes") as server:
        findings = {finding.about: finding for finding in await examine(server.url)}

    assert findings["engine"].says.startswith(kind)
    assert "restarted" in findings["keeps data"].says
    assert ["ok", "ok"] == [findings[name].level for name in ("eviction", "latency")]
