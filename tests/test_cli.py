"""The commands: exit statuses, what goes to which stream, and that nothing ends in a traceback."""

import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

from sbc import cli

FOLDER = Path(__file__).parent / "data" / "config"
EXAMPLE = Path(__file__).parents[1] / "conf" / "sbc.toml"


@pytest.fixture
def command(monkeypatch):
    """Puts a recorder in the place of the function that carries a command out."""

    def command(module, name, result=0):
        calls = []

        def function(*arguments, **options):
            calls.append((arguments, options))
            if isinstance(result, BaseException):
                raise result
            return result

        replacement = types.ModuleType(module)
        setattr(replacement, name, function)
        monkeypatch.setitem(sys.modules, module, replacement)
        package, _, short = module.rpartition(".")
        monkeypatch.setattr(sys.modules[package], short, replacement, raising=False)
        return calls

    import sbc.lab
    import sbc.observe  # noqa: F401 (packages that the replacements are put into)

    return command


def test_check_prints_the_expanded_configuration(capsys):
    """Every value with where it came from; nothing on standard error."""
    assert 0 == cli.main(["check", "-c", str(EXAMPLE)])
    out, err = capsys.readouterr()
    assert "" == err
    assert "office" == tomllib.loads(out)["group"][0]["name"]
    for origin in (f"# {EXAMPLE}:", "# profile recommended: ", "# default"):
        assert origin in out


@pytest.mark.parametrize("name", ["check", "run"])
@pytest.mark.parametrize("path", sorted(FOLDER.glob("invalid-*.toml")), ids=lambda path: path.stem)
def test_a_bad_configuration_is_2(name, path, capsys):
    """Whatever was to be done with it: nothing starts, and the errors are on standard error."""
    assert 2 == cli.main([*name.split(), "-c", str(path)])
    out, err = capsys.readouterr()
    assert "" == out
    assert all(line.startswith(f"{FOLDER}/") for line in err.splitlines()) and err


BROKEN = """
[appliance]
state_dir = "state"
{appliance}
[http]
port = 19464
{http}
[[listen]]
transport = "pigeon"
{elsewhere}
"""
TALKING = {
    "status": ("sbc.observe.status", "print_status"),
    "explain 100": ("sbc.observe.explain", "print_explanation"),
    "failback office": ("sbc.control", "ask"),
    "resync --server primary": ("sbc.control", "ask"),
}


def broken(tmp_path, **where):
    path = tmp_path / "sbc.toml"
    path.write_text(BROKEN.format(**{"appliance": "", "http": "", "elsewhere": ""} | where), "latin-1")
    return path


@pytest.mark.parametrize("name", TALKING)
@pytest.mark.parametrize(
    "where",
    [{}, {"elsewhere": "address = \"never closed"}, {"elsewhere": "# \xe4"}, {"appliance": 'workers = "two"\ncolour = 1'}],
    ids=["a wrong value", "no TOML", "no UTF-8", "in the table"],
)
def test_the_running_appliance_is_reached_with_a_configuration_that_is_broken_elsewhere(name, where, command, tmp_path, capsys):
    """Whoever edits the file when a server dies must still see what goes on. The rest is told on standard error."""
    module, function = TALKING[name]
    is_control = module == "sbc.control"
    calls = command(module, function, {"ok": True, "text": ["done"]} if is_control else 0)
    path = broken(tmp_path, **where)
    assert 0 == cli.main([*name.split(), "-c", str(path)])
    (((found, *_), _),) = calls
    if is_control:
        assert tmp_path / "state" == found
    else:
        assert ("127.0.0.1", 19464) == (found.http.address, found.http.port)
    out, err = capsys.readouterr()
    *errors, last = err.splitlines()
    assert errors and all(line.startswith(f"{path}:") for line in errors)
    assert f"sbc: warning: {path} cannot be used as it is; the running appliance is asked all the same" == last
    assert ("done\n" if is_control else "") == out


@pytest.mark.parametrize("name", TALKING)
def test_not_when_the_table_that_says_where_it_is_is_broken_itself(name, command, tmp_path, capsys):
    module, function = TALKING[name]
    calls = command(module, function)
    table, text = ("appliance", "state_dir = 1") if module == "sbc.control" else ("http", "port = 9464")  # a second one
    path = broken(tmp_path, **{table: text})
    assert (2, []) == (cli.main([*name.split(), "-c", str(path)]), calls)
    out, err = capsys.readouterr()
    assert "" == out
    assert f"sbc: [{table}] of {path} cannot be read, so the running appliance cannot be found" == err.splitlines()[-1]


@pytest.mark.parametrize("http", ["address = 1", "port = 9464"])
def test_the_other_table_may_be_broken(http, command, tmp_path):
    """`sbc failback` needs no [http]."""
    command("sbc.control", "ask", {"ok": True, "text": []})
    assert 0 == cli.main(["failback", "-c", str(broken(tmp_path, http=http))])


@pytest.mark.parametrize("name", TALKING)
def test_no_file_to_find_the_running_appliance_by(name, tmp_path, capsys):
    assert 2 == cli.main([*name.split(), "-c", str(tmp_path / "nowhere.toml")])
    assert "found no readable file" in capsys.readouterr().err


def test_no_configuration(tmp_path, monkeypatch, capsys):
    """Both places are named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sbc.config.DEFAULT_PATHS", (Path("etc/sbc.toml"), Path("conf/sbc.toml")))
    assert 2 == cli.main(["check"])
    expected = "sbc: found no configuration file, expected etc/sbc.toml or conf/sbc.toml, or the option -c FILE\n"
    assert expected == capsys.readouterr().err


def test_warnings_go_to_standard_error(tmp_path, capsys):
    """And change neither the output nor the status."""
    path = tmp_path / "sbc.toml"
    path.write_text(EXAMPLE.read_text("utf-8").replace('"127.0.0.1"  ', '"0.0.0.0"  '), "utf-8")
    assert 0 == cli.main(["check", "-c", str(path)])
    out, err = capsys.readouterr()
    assert f"{path}:" in err and ": http.address: warning: everyone who reaches 0.0.0.0" in err
    assert "1 warning" in out.splitlines()[0]


def test_check_live_pings(command, capsys):
    """After the configuration."""
    calls = command("sbc.preflight", "ping_servers")
    assert 0 == cli.main(["check", "-c", str(EXAMPLE), "--live"])
    (((config, out), _),) = calls
    assert "branch-42" == config.appliance.name and out is sys.stdout


@pytest.mark.parametrize("status", [0, 1])
def test_run(command, status):
    """The appliance says how it ended."""
    calls = command("sbc.app", "run", status)
    assert status == cli.main(["run", "-c", str(EXAMPLE)])
    assert "branch-42" == calls[0][0][0].appliance.name


def test_status(command):
    """For people, and for programs."""
    calls = command("sbc.observe.status", "print_status", 1)
    assert 1 == cli.main(["status", "-c", str(EXAMPLE)]) == cli.main(["status", "-c", str(EXAMPLE), "--json"])
    assert [{"as_json": False}, {"as_json": True}] == [options for _, options in calls]


def test_demo(command):
    """Needs no configuration."""
    calls = command("sbc.lab.demo", "main")
    assert 0 == cli.main(["demo"]) == cli.main(["demo", "--keep"])
    assert [((False,), {}), ((True,), {})] == calls


def test_an_error_that_nobody_foresaw_is_one_line(command, capsys):
    """Never a traceback."""
    command("sbc.app", "run", OSError(28, "No space left on device"))
    assert 1 == cli.main(["run", "-c", str(EXAMPLE)])
    expected = "sbc: OSError: [Errno 28] No space left on device (SBC_TRACEBACK=1 shows where)\n"
    assert expected == capsys.readouterr().err


def test_the_traceback_for_those_who_want_it(command, monkeypatch):
    """Developers, that is."""
    monkeypatch.setenv("SBC_TRACEBACK", "1")
    command("sbc.app", "run", ValueError("deep inside"))
    with pytest.raises(ValueError, match="deep inside"):
        cli.main(["run", "-c", str(EXAMPLE)])


def test_ctrl_c(command):
    """What shells expect of a program that was interrupted."""
    command("sbc.app", "run", KeyboardInterrupt())
    assert 130 == cli.main(["run", "-c", str(EXAMPLE)])


@pytest.mark.parametrize("arguments", [[], ["chekc"], ["run", "--fast"], ["check", "-c"]])
def test_bad_arguments_are_2(arguments, capsys):
    """argparse says what it would have taken."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert 2 == ended.value.code
    assert "usage: sbc" in capsys.readouterr().err


def sbc(*arguments, **options):
    """`python -m sbc` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "sbc", *arguments], cwd=EXAMPLE.parents[1], capture_output=True, text=True, **options
    )


def test_python_m_sbc():
    """The same program."""
    done = sbc("--version")
    assert (0, "sbc 0.1.0\n") == (done.returncode, done.stdout)


def test_conf_sbc_toml_of_the_current_folder_is_found():
    """Where there is no /etc/sbc/sbc.toml."""
    if Path("/etc/sbc/sbc.toml").exists():
        pytest.skip("this machine has a configuration of its own")
    assert "# conf/sbc.toml is valid: 1 socket, 1 group, 2 servers, 0 warnings" == sbc("check").stdout.splitlines()[0]


def test_output_that_nobody_reads():
    """`sbc check | head -1` ends quietly."""
    program = f"{sys.executable} -m sbc check -c {EXAMPLE} | head -c 1"
    done = subprocess.run(["sh", "-c", program], cwd=EXAMPLE.parents[1], capture_output=True, text=True)
    assert ("#", "") == (done.stdout, done.stderr)


def test_resync_tells_the_appliance(tmp_path, monkeypatch, capsys):
    """Its answer is printed; what was refused goes to standard error, with 1."""
    told = []
    answers = [{"ok": True, "text": ["office: 3 phones"]}, {"ok": False, "text": ["there is no server nonesuch, only primary"]}]

    def ask(state_dir, command, **fields):
        told.append((command, fields))
        return answers.pop(0)

    monkeypatch.setattr("sbc.control.ask", ask)
    file = str(EXAMPLE)
    assert 0 == cli.main(["resync", "-c", file, "--server", "primary", "--group", "office", "--rate", "2.5"])
    assert "office: 3 phones\n" == capsys.readouterr().out
    assert 1 == cli.main(["resync", "-c", file, "--server", "nonesuch"])
    assert "there is no server nonesuch, only primary\n" == capsys.readouterr().err
    assert [
        ("resync", {"server": "primary", "group": "office", "rate": 2.5}),
        ("resync", {"server": "nonesuch", "group": None, "rate": None}),
    ] == told


@pytest.mark.parametrize("arguments", [["resync"], ["resync", "--server", "x", "--rate", "0"], ["resync", "--server", "x", "--rate", "many"]])
def test_resync_without_sense_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert 2 == ended.value.code


@pytest.mark.parametrize(("option", "as_json"), [([], False), (["--json"], True)])
def test_explain(option, as_json, command):
    calls = command("sbc.observe.explain", "print_explanation", result=1)
    assert 1 == cli.main(["explain", "2001@example.com", *option, "-c", str(EXAMPLE)])
    ((arguments, options),) = calls
    assert ("2001@example.com", {"as_json": as_json}) == (arguments[1], options)


def test_explain_wants_a_number(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["explain"])
    assert 2 == ended.value.code
