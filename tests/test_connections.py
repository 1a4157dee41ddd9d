"""One login for everything: browser sign-in, the kept token, lost and expired sessions, several processes, `snowmelt login`."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from program import ROOT, Outcome, Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import PATIENCE, Sandbox, until

from demo.demo import source_content, target_content

NAMES = ["region", "nation", "supplier", "customer", "part"]

# A browser that follows the page's redirects, as a desktop's xdg-open does: started, then left alone.
FOLLOWING = """#!/bin/sh
echo "$1" >> "{log}"
exec "{python}" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read()' "$1" > /dev/null 2>&1 < /dev/null
"""


class Desk:
    """A project whose login goes through a browser of the given kind; the same home, so the same cache, all along."""

    def __init__(self, project: Project, postgres: PrivatePostgres, data: Path) -> None:
        self.project, self.postgres, self.data = project, postgres, data
        self.log = project.directory / "browser.log"
        self.server: Sandbox | None = None

    def browser(self, script: str = FOLLOWING) -> None:
        folder = self.project.directory / "bin"
        folder.mkdir(exist_ok=True)
        for name in ("xdg-open", "x-www-browser", "www-browser"):
            (folder / name).write_text(script.format(log=self.log, python=sys.executable))
            (folder / name).chmod(0o755)
        self.project.environment["PATH"] = f"{folder}:/usr/bin:/bin"

    def configure(self, server: Sandbox, **keys: object) -> None:
        self.server = server
        snowflake = {k: v for k, v in server.connection_keys.items() if k != "password"}
        snowflake |= {"authenticator": "externalbrowser", **keys}
        tables = [{"source": f"TPCH.PUBLIC.{name.upper()}", "mode": "replace"} for name in NAMES]
        self.project.configure(snowflake=snowflake, postgres=self.postgres.uri, tables=tables)

    def launches(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def logins(self, kind: str) -> int:
        return self.server.stats()["logins"][kind]

    def assert_all_there(self) -> None:
        for name in NAMES:
            assert target_content(self.postgres, name) == source_content(
                self.data / "TPCH" / "PUBLIC" / f"{name.upper()}.parquet"
            )


@pytest.fixture
def data(tpch: Callable[[float], Path]) -> Path:
    return tpch(0.02)


@pytest.fixture
def desk(project: Project, postgres: PrivatePostgres, database: psycopg.Connection, data: Path) -> Desk:
    desk = Desk(project, postgres, data)
    desk.browser()
    return desk


@pytest.fixture
def sandbox(data: Path) -> Iterator[Sandbox]:
    with Sandbox("--data", data, "--sso-auto", "--chunk-max-rows", 1000) as server:
        yield server


def during(server: Sandbox, sql: str, act: Callable[[], None]) -> threading.Thread:
    """Acts on the server while the statement waits before the server's door."""
    server.fault("query", "hold", sql=sql)

    def work() -> None:
        until(lambda: all(fault["fired"] for fault in server.faults()))
        act()
        server.clear_faults()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def run(desk: Desk, *arguments: str) -> Outcome:
    return desk.project.run("run", "--json", *arguments)


def test_one_browser_for_five_tables_and_none_the_next_time(desk: Desk, sandbox: Sandbox) -> None:
    desk.configure(sandbox)
    first = run(desk)
    assert first.code == 0, first.stderr
    assert (first.report["logins"], desk.launches(), desk.logins("externalbrowser")) == (1, 1, 1)
    assert sandbox.request("GET", "/sandbox/stats")["sessions_open"] == 0
    desk.assert_all_there()
    again = run(desk)
    assert (again.code, again.report["logins"]) == (0, 1), again.stderr
    assert (desk.launches(), desk.logins("externalbrowser"), desk.logins("id_token")) == (1, 1, 1)
    cache = next(desk.project.directory.joinpath("home").rglob("credential_cache*.json"))
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.parent.stat().st_mode) == 0o700
    kept = [value for value in re.findall(r'"([^"]{20,})"', cache.read_text())]
    output = first.stdout + first.stderr + again.stdout + again.stderr
    assert kept and not any(value in output for value in kept), "a token was printed"


@pytest.mark.parametrize("loss", ["kill_sessions", "expire_sessions", "expire_masters"])
def test_a_session_lost_between_tables(loss: str, desk: Desk, sandbox: Sandbox) -> None:
    desk.configure(sandbox)
    thread = during(sandbox, "SUPPLIER", getattr(sandbox, loss))
    outcome = run(desk, "--jobs", "1")
    thread.join()
    assert outcome.code == 0, outcome.stderr
    assert (desk.launches(), desk.logins("externalbrowser")) == (1, 1)
    desk.assert_all_there()
    # A session whose master token has expired cannot be closed by anybody: the server forgets it by itself.
    assert sandbox.stats()["sessions_open"] == (loss == "expire_masters")


def test_a_session_lost_with_several_tables_on_the_way(desk: Desk, sandbox: Sandbox) -> None:
    desk.configure(sandbox)
    sandbox.fault("query", "hold", sql="NATION")
    thread = during(sandbox, "REGION|SUPPLIER", sandbox.kill_sessions)
    outcome = run(desk, "--jobs", "5")
    thread.join()
    assert outcome.code == 0, outcome.stderr
    assert (desk.launches(), desk.logins("externalbrowser")) == (1, 1)
    desk.assert_all_there()


def test_everything_expires_in_the_middle_of_a_table(desk: Desk, data: Path, sandbox: Sandbox) -> None:
    """The session, its master token and all chunk addresses: a new session from the kept token asks for the same result again."""
    desk.configure(sandbox)
    settings = desk.project.directory / "snowmelt.toml"
    desk.project.write(settings.read_text().replace("[export]\n", "[export]\ndownloads = 1\n"))
    sandbox.fault("chunk", "hold", after=2)
    process = desk.project.start("run", "--json", "--table", "part")
    until(lambda: sandbox.faults()[0]["fired"])
    sandbox.expire_masters()
    sandbox.kill_sessions()
    sandbox.expire_urls()
    sandbox.clear_faults()
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["tables"][0]["rows"] == 4000
    assert target_content(desk.postgres, "part") == source_content(data / "TPCH" / "PUBLIC" / "PART.parquet")
    assert (desk.launches(), desk.logins("externalbrowser"), desk.logins("id_token")) == (1, 1, 1)


def test_nobody_is_asked_in_the_night(desk: Desk, data: Path) -> None:
    """No token is kept and no terminal says that somebody is there: an error with the remedy, not a browser on an empty desk."""
    with Sandbox("--data", data, "--sso-auto", "--no-id-token") as server:
        desk.configure(server)
        thread = during(server, "SUPPLIER", server.kill_sessions)
        outcome = run(desk, "--jobs", "1")
        thread.join()
        assert outcome.code == 3
        assert "snowmelt login" in outcome.stderr
        assert desk.launches() == 1
        statuses = [table["status"] for table in outcome.report["tables"]]
        assert statuses == ["ok", "ok", "failed", "skipped", "skipped"]


def test_a_refused_id_token_leads_to_one_browser(desk: Desk, sandbox: Sandbox) -> None:
    desk.configure(sandbox)
    assert run(desk).code == 0
    sandbox.revoke_id_tokens()
    again = run(desk)
    assert again.code == 0, again.stderr
    assert (desk.launches(), desk.logins("externalbrowser"), desk.logins("id_token")) == (2, 2, 0)


@pytest.mark.parametrize("keys", [{"client_store_temporary_credential": False}, {}])
def test_without_a_kept_token_each_process_asks(keys: dict, desk: Desk, data: Path) -> None:
    with Sandbox("--data", data, "--sso-auto", *([] if keys else ["--no-id-token"])) as server:
        desk.configure(server, **keys)
        assert [run(desk, "--table", "region").code for _ in range(2)] == [0, 0]
        assert desk.launches() == 2


def test_four_processes_open_one_browser(desk: Desk, data: Path) -> None:
    with Sandbox("--data", data, "--sso-auto") as server, ExitStack() as files:
        desk.configure(server)
        server.fault("authenticator", "hold")
        logs = {name: desk.project.directory / f"{name}.log" for name in NAMES[:4]}
        processes = {
            name: desk.project.start(
                "export", "--json", "--table", name, "--directory", f"export-{name}", stderr=files.enter_context(log.open("w"))
            )
            for name, log in logs.items()
        }
        waits = "another snowmelt process is logging in; waiting for it"
        until(lambda: sum(waits in log.read_text() for log in logs.values()) == 3)
        server.clear_faults()
        for name, process in processes.items():
            stdout, _ = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, logs[name].read_text()
            assert json.loads(stdout)["logins"] == 1
        assert (desk.launches(), desk.logins("externalbrowser"), desk.logins("id_token")) == (1, 1, 3)


def test_login_command(desk: Desk, sandbox: Sandbox) -> None:
    desk.configure(sandbox)
    check = desk.project.run("login", "--check")
    assert check.code == 3
    assert "snowmelt login" in check.stderr
    failed = desk.project.run("login", "--check", "--json")
    assert (failed.code, failed.report["status"], failed.report["error"]["code"]) == (3, "failed", "snowflake.person_needed")
    assert desk.launches() == 0
    done = desk.project.run("login")
    assert done.code == 0, done.stderr
    assert "(externalbrowser)" in done.stdout
    assert "asks nobody until" in done.stdout
    report = desk.project.run("login", "--check", "--json")
    assert report.code == 0, report.stderr
    assert (report.report["login_kind"], report.report["next_login_asks_nobody"]) == ("id_token", True)
    until_ = datetime.fromisoformat(report.report["valid_until"])
    assert datetime.now(UTC) < until_ <= datetime.now(UTC) + timedelta(hours=5)
    assert run(desk).code == 0
    assert (desk.launches(), sandbox.stats()["sessions_open"]) == (1, 0)


def test_login_command_where_nothing_is_kept(desk: Desk, data: Path) -> None:
    with Sandbox("--data", data, "--sso-auto", "--no-id-token") as server:
        desk.configure(server)
        done = desk.project.run("login", "--json")
        assert (done.code, done.report["next_login_asks_nobody"]) == (0, False)
        assert "ALLOW_ID_TOKEN" in done.report["problem"]
        desk.project.configure(snowflake=server.connection_keys)
        assert "there is nothing to keep" in desk.project.run("login").stdout


def test_no_browser_here(desk: Desk, sandbox: Sandbox) -> None:
    """The address is told with the port to forward; whoever opens it elsewhere finishes the login."""
    desk.configure(sandbox)
    desk.project.environment["PATH"] = str(desk.project.directory)
    process = desk.project.start("run", "--table", "region")
    seen = ""
    for line in process.stderr:
        seen += line
        if "forward port" in line:
            break
    port = re.search(r"forward port (\d+)", seen)[1]
    assert f"ssh -L {port}:localhost:{port}" in seen
    assert "programmatic_access_token" in seen
    urllib.request.urlopen(re.search(r"http\S+", seen)[0]).read()
    _, rest = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, rest


SILENT = '#!/bin/sh\necho "$1" >> "{log}"\n'
DENYING = """#!/bin/sh
echo "$1" >> "{log}"
exec "{python}" -c '
import sys, re, urllib.request, urllib.parse
base, number = re.match("(.*)/sso[?].*request=([^&]+)", sys.argv[1]).groups()
answer = urllib.parse.urlencode({{"request": number, "answer": "deny"}})
urllib.request.urlopen(base + "/sso/answer", answer.encode()).read()' "$1" > /dev/null 2>&1 < /dev/null
"""


@pytest.mark.parametrize(
    ("script", "keys", "said"),
    [
        pytest.param(
            SILENT, {"external_browser_timeout": 1}, ["nobody finished the login", "external_browser_timeout"], id="nobody"
        ),
        pytest.param(DENYING, {}, ["the browser's answer held no login token"], id="denied"),
        pytest.param("#!/bin/sh\nexit 3\n", {"external_browser_timeout": 1}, ["nobody finished"], id="a browser that fails"),
    ],
)
def test_browser_logins_that_come_to_nothing(
    script: str, keys: dict, said: list[str], desk: Desk, data: Path, database: psycopg.Connection
) -> None:
    with Sandbox("--data", data) as server:
        desk.browser(script)
        desk.configure(server, **keys)
        outcome = run(desk)
        assert outcome.code == 3, outcome.stderr
        for words in said:
            assert words in outcome.stderr
        assert desk.launches() <= 1, "asked again"
        assert server.stats()["sessions_open"] == 0
        assert database.execute("select to_regclass('region')").fetchone()[0] is None


def test_a_stray_request_at_the_login_port(desk: Desk, data: Path) -> None:
    with Sandbox("--data", data) as server:
        desk.browser(SILENT)
        desk.configure(server)
        process = desk.project.start("run", "--table", "region")
        until(lambda: desk.launches() == 1)
        address = desk.log.read_text().strip()
        port = re.search(r"port=(\d+)", address + " " + json.dumps(server.requests()))
        listening = port[1] if port else listening_port(process.pid)
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(f"http://localhost:{listening}/?nonsense=%zz", timeout=PATIENCE).read()
            raise ConnectionError
        _, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == 3
        assert "login token" in stderr


def listening_port(pid: int) -> str:
    sockets = {
        target.removeprefix("socket:[").removesuffix("]")
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if (target := str(link.readlink())).startswith("socket:")
    }
    for file in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{file}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                return str(int(fields[1].rpartition(":")[2], 16))
    raise AssertionError("nothing listens")


@pytest.mark.parametrize(
    ("options", "keys", "said"),
    [
        pytest.param((), {"authenticator": "snowflake", "password": "wrong"}, ["user", "password"], id="password"),
        pytest.param((), {"authenticator": "programmatic_access_token", "token": "expired-token"}, ["token"], id="token"),
        pytest.param(("--deny-mfa",), {"authenticator": "username_password_mfa"}, [], id="second factor denied"),
        pytest.param((), {"authenticator": "oauth", "token": "expired-token"}, ["token"], id="oauth"),
    ],
)
def test_a_refused_login_is_not_tried_again(options: tuple, keys: dict, said: list[str], desk: Desk, data: Path) -> None:
    """More attempts would lock the account."""
    with Sandbox("--data", data, *options) as server:
        desk.configure(server, **({"password": server.connection_keys["password"]} | keys if "token" not in keys else keys))
        outcome = run(desk)
        assert outcome.code == 3, outcome.stderr
        # The driver shows a refused OAuth token a second time; there is no account to lock.
        assert server.stats()["login_failures"] == (2 if keys["authenticator"] == "oauth" else 1)
        for words in said:
            assert words in outcome.stderr
        for secret in ("wrong", "expired-token"):
            assert secret not in outcome.stdout + outcome.stderr.replace("wrong ", "")


def test_other_methods_log_in_once(desk: Desk, data: Path, tmp_path: Path) -> None:
    key, public = tmp_path / "key.p8", tmp_path / "key.pub"
    subprocess.run(
        ["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-aes256", "-pass", "pass:openme", "-out", key], check=True
    )
    subprocess.run(["openssl", "pkey", "-in", key, "-passin", "pass:openme", "-pubout", "-out", public], check=True)
    key.chmod(0o600)
    with Sandbox("--data", data, "--public-key", public, "--pat", "pat-token", "--oauth-token", "oauth-token") as server:
        methods = {
            "keypair": {"authenticator": "snowflake_jwt", "private_key_file": str(key), "private_key_file_pwd": "openme"},
            "pat": {"authenticator": "programmatic_access_token", "token": "pat-token"},
            "oauth": {"authenticator": "oauth", "token": "oauth-token"},
            "password": {"authenticator": "snowflake", "password": server.connection_keys["password"]},
        }
        for kind, keys in methods.items():
            desk.configure(server, **keys)
            outcome = run(desk, "--table", "region")
            assert outcome.code == 0, outcome.stderr
            assert desk.logins(kind) == 1, server.stats()
        desk.configure(server, **(methods["keypair"] | {"private_key_file_pwd": "wrong"}))
        outcome = run(desk, "--table", "region")
        assert (outcome.code, "private_key_file" in outcome.stderr) == (2, True), outcome.stderr
        assert desk.launches() == 0


def terminate_loaders(database: psycopg.Connection) -> int:
    return database.execute(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'snowmelt%'"
    ).fetchone()[0]


def test_postgres_backend_ended_between_tables(desk: Desk, sandbox: Sandbox, database: psycopg.Connection) -> None:
    desk.configure(sandbox)
    busy = "select count(*) from pg_stat_activity where application_name like 'snowmelt%' and state <> 'idle'"

    def between_tables() -> None:
        until(lambda: database.execute(busy).fetchone()[0] == 0)
        terminate_loaders(database)

    thread = during(sandbox, "SUPPLIER", between_tables)
    outcome = run(desk, "--jobs", "1")
    thread.join()
    assert outcome.code == 0, outcome.stderr
    desk.assert_all_there()


def test_postgres_backend_ended_inside_a_table(desk: Desk, data: Path, database: psycopg.Connection) -> None:
    with Sandbox("--data", data, "--sso-auto", "--chunk-max-rows", 100) as server:
        desk.configure(server)
        assert run(desk).code == 0
        before = target_content(desk.postgres, "part")
        # One part is open at a time and closed after 8 chunks: it is on its way to the table when the 21st is held.
        settings = desk.project.directory / "snowmelt.toml"
        desk.project.write(settings.read_text().replace("[export]\n", "[export]\nthreads = 1\n"))
        server.fault("chunk", "hold", after=20, times=-1)
        process = desk.project.start("run", "--json", "--table", "part")
        until(lambda: terminate_copying(database) > 0)
        server.clear_faults()
        stdout, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == 4, stderr
        assert "postgres.connection_lost" in stderr
        assert json.loads(stdout)["tables"][0]["status"] == "failed"
        assert target_content(desk.postgres, "part") == before


def terminate_copying(database: psycopg.Connection) -> int:
    return database.execute("select count(pg_terminate_backend(pid)) from pg_stat_progress_copy").fetchone()[0]


CHROMIUM = """#!/bin/sh
echo "$1" >> "{log}"
exec "{python}" "{driver}" "$1" > "{log}.driver" 2>&1 < /dev/null
"""
DRIVER = """
import sys
from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
    page = browser.new_page()
    page.goto(sys.argv[1])
    page.click("#sign-in")
    page.wait_for_url("http://localhost:*/**")
    page.wait_for_load_state()
    page.screenshot(path=sys.argv[0] + ".png")
    print("ended at", page.title(), page.inner_text("body"))
    browser.close()
"""


def test_with_a_real_browser(desk: Desk, data: Path) -> None:
    """Chromium, driven to press the page's button: one launch for five tables, none the next time, none after a lost session."""
    driver = desk.project.directory / "driver.py"
    driver.write_text(DRIVER)
    desk.browser(CHROMIUM.replace("{driver}", str(driver)))
    with Sandbox("--data", data) as server:
        desk.configure(server)
        thread = during(server, "SUPPLIER", server.kill_sessions)
        first = run(desk, "--jobs", "1")
        thread.join()
        assert first.code == 0, first.stderr + Path(f"{desk.log}.driver").read_text()
        assert (desk.launches(), desk.logins("externalbrowser")) == (1, 1)
        desk.assert_all_there()
        assert run(desk).code == 0
        assert desk.launches() == 1
        assert server.stats()["sso_pages"] == 1
    until(lambda: "ended at" in Path(f"{desk.log}.driver").read_text())


STRESS = """
import random, sys, threading, time, snowmelt
manager = snowmelt.SnowflakeConnectionManager()
manager.get_connection()
losses, answers, wrong = [], [], []

def work(seed):
    choose = random.Random(seed)
    for call in range(157):
        time.sleep(0.02)
        try:
            connection = manager.get_connection()
            if choose.random() < 0.05:
                answers.append(connection.cursor().execute("select 1").fetchall()[0][0])
        except snowmelt.ConnectionError as error:  # of the statement that meets the loss: the next call connects again
            losses.append(error)
        except Exception as error:
            wrong.append(repr(error))

threads = [threading.Thread(target=work, args=(seed,)) for seed in range(64)]
for thread in threads:
    thread.start()
print("started", flush=True)
for thread in threads:
    thread.join()
assert not wrong, wrong[:3]
sys.stdin.read()  # until the server is left in peace
manager.is_alive()  # finds out what the last loss did; get_connection() then acts on it
assert manager.get_connection().cursor().execute("select 1").fetchone()[0] == 1
print(len(answers), len(losses), flush=True)
manager.close()
"""


def test_sixty_four_threads_through_a_hundred_losses(desk: Desk, sandbox: Sandbox) -> None:
    """10,048 calls while the server expires and kills sessions: one person is asked once, nothing waits for ever."""
    desk.configure(sandbox)
    environment = desk.project.variables(PYTHONPATH=str(ROOT / "python"))
    process = subprocess.Popen(
        [sys.executable, "-c", STRESS],
        cwd=desk.project.directory,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "started\n"
    for _ in range(50):
        sandbox.expire_sessions()
        time.sleep(0.01)
        sandbox.kill_sessions()
        time.sleep(0.01)
    answers, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert int(answers.split()[0]) > 100
    assert (desk.launches(), desk.logins("externalbrowser")) == (1, 1)
