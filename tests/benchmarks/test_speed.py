"""What the benchmarks of speed work out from their measurements, and how they run commands."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from support.project import ROOT
from support.shards import write_shard
from tokalign.common.errors import InputError
from tokalign.config.vectors import VectorsBlock
from tokalign.vectors.vectors import read_vectors


@pytest.fixture
def load(monkeypatch) -> Callable[[str], ModuleType]:
    """Return a function that imports a file below benchmarks/ under the last part of its path, for the time of a test."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def imported(path: str) -> ModuleType:
        name = path.split("/")[-1]
        spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{path}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return imported


@pytest.fixture
def common(load) -> ModuleType:
    return load("common")


def test_commands_are_measured_in_their_order(common):
    code = "import sys, time; time.sleep(float(sys.argv[1])); print('out', sys.argv[1]); print('err', file=sys.stderr)"
    slow, quick = common.run_together([[sys.executable, "-c", code, seconds] for seconds in ("0.5", "0")])
    assert [sorted(each.output.splitlines()) for each in (slow, quick)] == [["err", "out 0.5"], ["err", "out 0"]]
    assert slow.wall_s > 0.5
    assert quick.peak_rss_mb > 1


def test_memory_of_a_command_and_its_files(common, tmp_path):
    (tmp_path / "in").write_text("abc")
    code = "import sys; block = bytearray(300_000_000); sys.stdout.write(sys.stdin.read() * 2)"
    measured = common.run([sys.executable, "-c", code], stdin=tmp_path / "in", stdout=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "abcabc"
    assert measured.peak_rss_mb > 300


def test_failed_command(common):
    with pytest.raises(InputError, match=r"(?s)the command python\S* failed.*no such luck"):
        common.run([sys.executable, "-c", "import sys; sys.exit('no such luck')"])


def test_paths_of_the_machine_are_not_in_the_result(common, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["speed/x.py", "--a", str(tmp_path / "here/a.txt"), "--b", "/some/where/b.txt", "--n", "3"])
    common.write_result(tmp_path / "result.json", {"benchmark": "x"}, ["numpy"])
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["command"] == "python speed/x.py --a here/a.txt --b b.txt --n 3"
    assert set(result) == {"benchmark", "command", "date", "machine", "versions"}
    assert result["machine"]["cores"] >= 1


def test_comparison_of_glove(common, load):
    """Ours: 2000 non-zeros * 10 iterations in 4 s on 2 threads; Stanford's in 16 s. Two processes in the time of 1.25."""
    compare = load("speed/glove").compare
    theirs = {
        **{step: {"wall_s": 2.0} for step in ("vocab_count", "cooccur", "shuffle")},
        "glove": {"wall_s": 16.0},
        "nonzeros": 2000,
        "objective": [0.2, 0.1],
    }
    ours = {
        "training": {"1": {"wall_s": 8.0}, "2": {"wall_s": 4.0}},
        "counting": {"1": {"wall_s": 3.0}, "2": {"wall_s": 1.5}},
        "two_processes_wall_s": 10.0,
        "sha256_of_vectors": {"1": "a", "2": "a"},
        "nonzeros": 2000,
        "objective": [0.3, 0.11],
    }
    result = compare(theirs, ours, 2, 10)
    assert (result["our_nonzeros_per_s"], result["stanford_nonzeros_per_s"], result["training_ratio"]) == (5000, 1250, 4.0)
    assert (result["counting_ratio"], result["counting_ratio_one_thread"]) == (4.0, 2.0)
    assert (result["scaling_two_threads"], result["scaling_two_processes"]) == (2.0, 1.6)
    assert result["final_objective_relative_difference"] == pytest.approx(0.1)
    assert result["same_bytes_for_any_threads"] and result["same_number_of_nonzeros"]
    ours["sha256_of_vectors"]["2"] = "b"
    assert not compare(theirs, ours, 2, 10)["same_bytes_for_any_threads"]


def test_projection_of_counting(common, load):
    """10 s + 2 s per million tokens; non-zeros grow with the square root: 1e6 at 4e6 tokens are 5e6 at 1e8."""
    counting_growth = load("speed/counting_growth")
    settings = {"count": {"window": 15}, "glove": {"dimensions": 20}}  # padded to 32: 512 bytes a token kept
    rows = [
        {
            "tokens": n * 10**6,
            "documents": 0,
            "kept_tokens": 1000,
            "nonzeros": 500_000 * n**0.5,
            "counting": {"cpu_s": 10 + 2 * n, "peak_rss_mb": 200 + 8 * n**0.5},
            "glove": {"cpu_s": 3 + n**0.5, "peak_rss_mb": 300 + 10 * n**0.5 + 0.512},
        }
        for n in (1, 2, 4)
    ]
    result = counting_growth.project(rows, settings, 1e8, 0.4)
    assert result["nonzeros_grow_with_tokens_to_the"] == 0.5
    assert (result["nonzeros"], result["kept_tokens"]) == (5_000_000, 1000)
    # Half of 0.4 GB at 8 bytes a token: 25e6 tokens a chunk.
    expected = {"seconds_per_million_tokens": 2, "cpu_s": 210, "chunks": 4, "result_gb": 0.08, "peak_gb": 0.2 + 0.4 + 0.08}
    assert result["counting"] == pytest.approx({**expected, "disk_gb": 4 * 500_000 * 5 * 12 / 1e9})
    assert result["glove"] == pytest.approx({"seconds_per_million_nonzeros": 2, "cpu_s": 13, "peak_gb": 0.3 + 0.1}, abs=0.005)
    whole = counting_growth.project(rows, settings, 1e8, 16.0)["counting"]  # 0.8 GB of these are enough
    assert (whole["chunks"], whole["disk_gb"], whole["peak_gb"]) == (1, 0, pytest.approx(0.2 + 1.6 + 0.08))
    assert counting_growth.most_memory(rows, settings, 1e8, 1.0) == 0.6
    assert counting_growth.most_memory(rows, settings, 1e8, 0.1) == 0.1


def test_growth_of_counting_is_measured(common, load, tmp_path):
    """One size: 400 documents of 200 tokens; 1 MB of memory holds 62,500 tokens and gaps."""
    counting_growth = load("speed/counting_growth")
    rng = np.random.default_rng(1)
    shard = write_shard(tmp_path / "a.arrow", rng.integers(0, 50, (400, 200)).tolist())
    part = tmp_path / "part.arrow"
    counting_growth.write_part([shard], 4, part)
    (tmp_path / "info.json").write_text('{"size": 50}')
    words = ["--shards", shard, "--tokenizer-info", tmp_path / "info.json", "--memory-gb", "0.001", "--threads", "1"]
    settings = VectorsBlock().plain()
    settings["glove"] |= {"iterations": 1, "dimensions": 2}
    args = counting_growth.arguments().parse_args([str(word) for word in words])
    row = counting_growth.measure(args, settings, [part], tmp_path)
    sizes = {key: row[key] for key in ("tokens", "documents", "kept_tokens", "nonzeros", "chunks")}
    assert sizes == {"tokens": 40_000, "documents": 200, "kept_tokens": 50, "nonzeros": 2500, "chunks": 1}
    assert counting_growth.measure(args, settings, [shard], tmp_path)["chunks"] == 2
    assert row["counting"]["wall_s"] > 0 and row["glove"]["peak_rss_mb"] > 1


def test_growth_of_an_alignment(common, load, tmp_path, monkeypatch):
    load("speed/alignment")
    growth = load("speed/alignment_growth")
    monkeypatch.setattr(growth, "FACTORS", (1, 2))
    monkeypatch.setattr(sys, "argv", ["alignment_growth.py"])
    words = ["--size", "500", "450", "--methods", "relative", "--repeats", "1", "--output", str(tmp_path / "a.json")]
    growth.main(growth.arguments().parse_args(words))
    result = json.loads((tmp_path / "a.json").read_text())
    assert [(row["target"], row["source"]) for row in result["measured"]] == [(500, 450), (1000, 900)]
    assert all(row["relative"]["peak_rss_mb"] > 1 and row["relative"]["align_s"] > 0 for row in result["measured"])
    assert result["settings"]["pivots"] == {"relative": 300}


def test_comparison_of_bleu(common, load):
    """Means in points: 70 from (69, 71) beside 71 from (70, 71, 72); variances 2 and 1, pooled (2 + 2) / 3."""
    load("speed/glove")
    bleu = load("speed/glove_bleu")

    def scores(*values: float) -> list[dict[tuple[str, int], float]]:
        return [{("all", 1): value, ("not_shared", 1): 0.1} for value in values]

    rows = bleu.compare({"a": {"stanford": scores(0.69, 0.71), "ours": scores(0.70, 0.71, 0.72)}})
    assert rows[0] == {
        "alignment": "a",
        "tokens": "all",
        "order": 1,
        "stanford": 70.0,
        "ours": 71.0,
        "difference": 1.0,
        "standard_error": round((4 / 3 * (1 / 2 + 1 / 3)) ** 0.5, 3),
        "runs_stanford": [69.0, 71.0],
        "runs_ours": [70.0, 71.0, 72.0],
    }
    assert (rows[1]["tokens"], rows[1]["difference"], rows[1]["standard_error"]) == ("not_shared", 0.0, 0.0)
    assert bleu.standard_error([1.0], [2.0]) is None


def test_kept_vectors_of_stanford_are_of_these_settings(common, load, tmp_path, monkeypatch):
    """Trained once for the same settings, again for others; how our own training is cut does not count."""
    load("speed/glove")
    bleu = load("speed/glove_bleu")
    trained = []

    def stanford(args, settings, text, folder, *, binary):
        trained.append((settings["glove"]["dimensions"], args.seed))
        assert text.read_text() == "3 1\n"
        (folder / "stanford.txt").write_text("3 0.5 1\n1 1.5 2\n<unk> 0 0\n")
        return {"objective": [0.2, 0.1], "glove": {"wall_s": 1.0}}

    monkeypatch.setattr(bleu, "stanford", stanford)
    shard = write_shard(tmp_path / "a.arrow", [[3, 1]])
    (tmp_path / "info.json").write_text('{"size": 4}')
    args = argparse.Namespace(target_shards=[shard], target_tokenizer=tmp_path, threads=1)
    for dimensions, block, seed in ((2, 512, 1), (2, 1024, 1), (3, 1024, 1), (3, 1024, 2)):
        settings = {"count": {"window": 15}, "glove": {"dimensions": dimensions, "block": block, "early_stop": None}}
        assert bleu.train_stanford(args, settings, "target", seed, tmp_path, tmp_path) == 0.1
    assert trained == [(2, 1), (3, 1), (3, 2)]
    vectors = read_vectors(tmp_path / "stanford-1-target.safetensors")
    assert (vectors.token_ids.tolist(), vectors.vectors.tolist(), vectors.counts.tolist()) == (
        [3, 1],
        [[0.5, 1], [1.5, 2]],
        [1, 1],
    )


def test_page_with_plots(load, tmp_path):
    """Time as the square of the size, memory as its square root: the powers stand in the legends."""
    load("common")
    make_page = load("make_page")
    origin = {
        "command": "python x.py",
        "date": "2026-01-01",
        "machine": {"processor": "p", "cores": 2, "memory_gb": 8},
        "versions": {},
    }
    rows = [
        {"factor": n, "tokens": n * 10**6, "glove": {"wall_s": 1.0, "cpu_s": 0.1 * n**2, "peak_rss_mb": 200 * n**0.5}}
        for n in (1, 2, 4, 8)
    ]
    (tmp_path / "counting_growth.json").write_text(json.dumps({**origin, "settings": {"threads": 2}, "measured": rows}))
    pages = []
    for _ in range(2):
        make_page.main(argparse.Namespace(results=tmp_path, page=tmp_path / "page.md"))
        pages.append((tmp_path / "page.md").read_text() + (tmp_path / "counting_growth.svg").read_text())
    assert pages[0] == pages[1]
    assert "](counting_growth.svg)" in pages[0] and "| 8 | 8,000,000 | 1 | 6.4 |" in pages[0]
    figure = make_page.growth_plot({"measured": rows}, "tokens", "tokens")
    legends = [axes.get_legend().get_texts()[0].get_text() for axes in figure.axes]
    assert legends == ["glove: size$^{2.00}$", "glove: size$^{0.50}$"]


def test_same_ids_are_checked(common, load, tmp_path):
    check_same = load("speed/tokenize_shards").check_same
    shard = write_shard(tmp_path / "a.arrow", [[1, 2], [], [3]])
    (tmp_path / "ids.txt").write_text("1 2\n\n3\n")
    assert check_same([shard], tmp_path / "ids.txt") == {"documents": 3, "tokens": 3}
    for wrong in ("1 2\n\n4\n", "1 2\n\n", "1 2\n\n3\n\n"):
        (tmp_path / "ids.txt").write_text(wrong)
        with pytest.raises(InputError, match=r"document [23]: other ids"):
            check_same([shard], tmp_path / "ids.txt")


def scored(what: str, way: str, seconds: float, added: float, value: float = 1.0) -> dict:
    return {"what": what, "way": way, "seconds": seconds, "cpu_s": seconds / 2, "added_mb": added, "value": value}


def test_ways_of_scoring_are_compared_by_their_medians(common, load):
    scoring = load("speed/scoring")
    runs = [scored("documents", "ours", seconds, 100) for seconds in (2.0, 9.0, 1.0)]
    runs += [scored("documents", "one_by_one", 3.0, 150), scored("documents", "harness", 8.0, 400)]
    runs += [scored("questions", way, 1.0, 50) for way in scoring.WAYS["questions"]]
    runs += [scored("vocabulary", "bounded", 2.0, 100, 7e4), scored("vocabulary", "whole", 1.0, 1000, 7e4 + 0.5)]
    ratios = scoring.compare(scoring.summary(runs))
    assert ratios["documents: one_by_one / ours: time"] == 1.5
    assert ratios["documents: harness / ours: memory"] == 4.0
    assert ratios["vocabulary: whole / bounded: time of the processor"] == 0.5
    assert ratios["vocabulary: whole / bounded: memory"] == 10.0
    with pytest.raises(InputError, match="questions: harness finds another value"):
        scoring.compare(scoring.summary([*runs[:-3], scored("questions", "harness", 1.0, 50, 1.1), *runs[-2:]]))


def test_documents_of_all_files_in_turn(common, load, tmp_path):
    for name, texts in (("a", ["a1", "a" * 50, "a2"]), ("b", ["b1"])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    chosen = load("speed/scoring").chosen_documents
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    assert chosen(files, 100, 10) == ["a1", "b1", "a2"]
    assert chosen(files, 3, 10) == ["a1", "b1"]
