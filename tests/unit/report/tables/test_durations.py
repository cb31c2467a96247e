"""The table of how long each rule took."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokalign.common.errors import ArtifactError
from tokalign.report.tables.durations import DURATIONS, duration_rows

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def write(folder: Path, name: str, *lines: str) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(HEAD + "".join(f"{line}\n" for line in lines))


def job(seconds: str, memory: str, cpu: str) -> str:
    return f"{seconds}\t0:00:01\t{memory}\t1\t1\t1\t0\t0\t0\t{cpu}"


def test_jobs_are_summed_by_rule_and_the_longest_comes_first(tmp_path: Path):
    write(tmp_path, "count/a/x.tsv", job("1.5", "100", "2.0"))
    write(tmp_path, "count/a/y.tsv", job("0.5", "300", "NA"))
    write(tmp_path, "count/a/z.tsv", job("1e-05", "-", "0"))
    write(tmp_path, "train/m--t/s1/stage.tsv", job("9.0", "50", "1"), job("4.0", "70", "3.0"))  # the last run counts
    columns, rows = duration_rows(tmp_path)
    assert columns == DURATIONS
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("train", 1, 4.0, 4.0, 3.0, 70.0),
        ("count", 3, pytest.approx(2.00001), 1.5, 2.0, 300.0),
        ("all", 4, pytest.approx(6.00001), 4.0, 5.0, 300.0),
    ]


def test_no_jobs_and_no_folder(tmp_path: Path):
    assert duration_rows(tmp_path / "none") == (DURATIONS, [])


@pytest.mark.parametrize("content", ["", HEAD, "a\tb\n1\t2\n", HEAD.replace("cpu_time", "x") + job("1", "1", "1") + "\n"])
def test_other_files_are_refused(tmp_path: Path, content: str):
    (tmp_path / "count").mkdir()
    (tmp_path / "count/a.tsv").write_text(content)
    with pytest.raises(ArtifactError, match="not a benchmark file"):
        duration_rows(tmp_path)
