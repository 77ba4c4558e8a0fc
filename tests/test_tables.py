"""Tables that a campaign names: read as they stand, and every mistake said with its row."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lab.core.errors import ConfigError
from lab.core.question import CampaignConfig, Table
from lab.core.table import MOST_ROWS
from lab.files import load_campaign

CAMPAIGN = {
    "name": "substrates", "recipe": "thin_film", "objectives": [{"name": "gap", "goal": "minimize"}], "budget": {"trials": 5},
    "parameters": [{"name": "a", "type": "range", "bounds": [0, 10]}, {"name": "n", "type": "integer", "bounds": [1, 9]},
                   {"name": "s", "type": "choice", "values": ["DMF", "10"]}],
    "candidates": {"file": "pool.csv"}, "optimizer": {"engine": "botorch"},
}


def load(folder: Path, pool: str, **changes: object) -> CampaignConfig:
    (folder / "pool.csv").write_text(pool)
    (folder / "campaign.yaml").write_text(yaml.safe_dump(CAMPAIGN | changes))
    return load_campaign(folder / "campaign.yaml")


def candidates(config: CampaignConfig) -> Table:
    assert config.candidates is not None
    return config.candidates


def test_a_table_of_candidates_is_read_with_the_campaign(tmp_path: Path) -> None:
    table = candidates(load(tmp_path, "\ufeffs, a ,n\nDMF,0.1,3\n\n10,2e0,4\n"))
    assert table.columns == ("s", "a", "n")
    assert table.rows == (("DMF", 0.1, 3), ("10", 2.0, 4))
    assert [type(value) for value in table.rows[1]] == [str, float, int]


def test_what_has_been_read_is_not_read_again(tmp_path: Path) -> None:
    config = load(tmp_path, "a,n,s\n1,2,DMF\n")
    again = CampaignConfig.model_validate_json(config.model_dump_json())
    assert again == config


def test_another_table_can_be_named_on_the_command_line(tmp_path: Path) -> None:
    load(tmp_path, "a,n,s\n1,2,DMF\n")
    (tmp_path / "other.csv").write_text("a,n,s\n5,2,DMF\n")
    config = load_campaign(tmp_path / "campaign.yaml", {"candidates.file": "other.csv"})
    assert candidates(config).rows == ((5, 2, "DMF"),)


@pytest.mark.parametrize("pool, message", [
    ("", "pool.csv, which is empty; allowed: a CSV file with a header"),
    ("a,n,s\n", "pool.csv without a row"),
    ("a,n\n1,2\n", r"candidates.columns: given a, n; allowed: a, n, s: each parameter once"),
    ("a,n,s,x\n1,2,DMF,0\n", r"candidates.columns: given a, n, s, x; allowed: a, n, s"),
    ("a,a,n,s\n1,2,3,DMF\n", "columns with different names"),
    ("a,n,s\n1,2,DMF\n1,2\n", "given 2 cells in row 2 of pool.csv; allowed: 3"),
    ("a,n,s\n1,2,DMF\n,3,DMF\n", "given nothing for a in row 2 of pool.csv"),
    ("a,n,s\n1,2,DMF\nnan,3,DMF\n", "given a = nan in row 2 of pool.csv; allowed: finite numbers"),
    ("a,n,s\n1,2,DMF\n1e999,3,DMF\n", "given a = 1e999 in row 2 of pool.csv; allowed: finite numbers"),
    ("a,n,s\n1,2,DMF\nfew,3,DMF\n", r"candidates: given a = '1' in row 1; allowed: 0..10"),
    ("a,n,s\n1,2,DMF\n11,3,DMF\n", r"candidates: given a = 11 in row 2; allowed: 0..10"),
    ("a,n,s\n1,2.5,DMF\n", r"candidates: given n = 2.5 in row 1; allowed: a whole number in 1..9"),
    ("a,n,s\n1,2,DMF\n1,3,water\n", "candidates: given s = 'water' in row 2; allowed: DMF, 10"),
    ("a,n,s\n1,2,DMF\n2,2,DMF\n1,2,DMF\n", "candidates: given row 3 as row 1; allowed: rows that differ"),
    ('a,n,s\n1,2,"DMF\n', "pool.csv, which cannot be read"),
])
def test_what_is_wrong_with_a_table_is_said_with_its_row(tmp_path: Path, pool: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, pool)


def test_a_table_that_is_not_there_or_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"candidates.file: given .*other.csv, which does not exist"):
        load(tmp_path, "", candidates={"file": "other.csv"})
    (tmp_path / "bytes.csv").write_bytes(b"a,n,s\n\xff\xfe,2,DMF\n")
    with pytest.raises(ConfigError, match="bytes.csv, which cannot be read"):
        load(tmp_path, "", candidates={"file": "bytes.csv"})


def test_a_table_may_not_be_endless(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="more than 100000 rows; allowed: at most 100000"):
        load(tmp_path, "a,n,s\n" + "1,2,DMF\n" * (MOST_ROWS + 1))


def test_what_is_fixed_need_not_stand_in_the_table(tmp_path: Path) -> None:
    fixed = [*CAMPAIGN["parameters"], {"name": "t", "type": "fixed", "value": 60}]  # type: ignore[misc]
    assert candidates(load(tmp_path, "a,n,s\n1,2,DMF\n", parameters=fixed)).columns == ("a", "n", "s")


def test_of_earlier_measurements_only_what_is_used_is_read(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("a,n,s,gap,gap_sem,who,when\n1,2,DMF,0.5,,Ada,\n3,4,10,0.25,0.01,Eve,now\n")
    config = load(tmp_path, "a,n,s\n1,2,DMF\n", prior=[{"name": "last year", "file": "old.csv"}])
    assert config.prior[0].columns == ("a", "n", "s", "gap", "gap_sem")
    assert config.prior[0].rows == ((1, 2, "DMF", 0.5, ""), (3, 4, "10", 0.25, 0.01))


def test_earlier_measurements_without_an_outcome_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("a,n,s,gap\n1,2,DMF,0.5\n3,4,10,\n")
    with pytest.raises(ConfigError, match=r"prior.0.file: given nothing for gap in row 2 of old.csv"):
        load(tmp_path, "a,n,s\n1,2,DMF\n", prior=[{"name": "last year", "file": "old.csv"}])


def test_earlier_samples_that_failed_need_no_outcome(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("a,n,s,gap,state\n1,2,DMF,0.5,\n3,4,10,,failed\n")
    config = load(tmp_path, "a,n,s\n1,2,DMF\n", prior=[{"name": "last year", "file": "old.csv"}])
    assert config.prior[0].records()[1] == {"a": 3, "n": 4, "s": "10", "gap": "", "state": "failed"}
