import hashlib
import re
from importlib.resources import files

import pytest

from sidecar.store.redis import scripts
from sidecar.store.redis.scripts import Script

FOLDER = files("sidecar.store.redis") / "scripts"
SCRIPTS = [value for value in vars(scripts).values() if isinstance(value, Script)]
every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)


def test_every_file_is_a_transition_or_the_entry_they_share() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert names == {f"{script.name}.lua" for script in SCRIPTS} | {"entry.lua"}


@every_script
def test_a_transition_says_what_it_takes_returns_and_why_it_is_safe(script: Script) -> None:
    text = (FOLDER / f"{script.name}.lua").read_text(encoding="utf-8")
    header = text.partition("\n\nlocal")[0]
    assert header.startswith(f"-- {script.name}: ")
    for part in ("-- KEYS[1]  ", "-- ARGV     ", "-- Returns  ", "-- Races. "):
        assert f"\n{part}" in header
    assert set(re.findall(r"ARGV\[(\d)\]", text)) == set(re.findall(r"(?<=[ ·] )(\d) [a-z]", header))


@every_script
def test_a_transition_touches_one_entry_and_no_clock_but_the_servers(script: Script) -> None:
    assert set(re.findall(r"KEYS\[(\d)\]", script.text)) == {"1"}
    assert not re.findall(r"\bos\.|math\.random", script.text)


@every_script
def test_a_script_is_known_by_the_digest_of_its_whole_text(script: Script) -> None:
    assert script.sha1 == hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest()
    assert script.text.count("local function read(") == 1
