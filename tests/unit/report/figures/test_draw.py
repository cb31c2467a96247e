"""Figures of training and alignments, and what holds for all: drawn, readable by their suffix, the same bytes each time."""

import subprocess
import sys

import pytest
from jinja2 import Environment
from matplotlib import image
from support.comparison import comparison
from support.project import ROOT
from tokalign.common.errors import ArtifactError, InputError
from tokalign.report.figures import draw, training, vocabulary
from tokalign.report.figures.sources import COMPARISON, SOURCES, figures_of
from tokalign.report.tables import files, results


def cells(rows, columns):
    return [{c: files.cell_text(row.get(c)) for c in columns} for row in rows]


def tokenizer_table():
    rows = [
        {"tokenizer": t, "corpus": "c", "language": language, "domain": domain, "bytes_per_token": value + i,
         "bytes_per_token_ci_low": value + i - 0.1, "bytes_per_token_ci_high": value + i + 0.2}
        for i, t in enumerate(("old", "new"))
        for language, domain, value in (("all", "all", 3.0), ("de", "web", 3.5), ("ja", "web", 2.0))
    ]  # fmt: skip
    rows.append({"tokenizer": "old", "corpus": "c", "dataset": "flowers", "language": "ru", "domain": "", "parity": 2.0})
    return cells(rows, results.TOKENIZERS)


def stage_table():
    columns = [*results.BLOCK, *results.EXPERIMENT, "source", "initialized:random", "initialized", "stage1", "stage2"]
    rows = [
        {"evaluation": "e", "model": "m", "tokenizer": "t", "seed": seed, "language": language, "domain": domain, "source": 1.0,
         "initialized:random": 15.0, "initialized": 2.0 + i, "stage1": 1.5 + i, "stage2": None if seed == 2 else 1.2 + i}
        for seed in (1, 2)
        for i, (language, domain) in enumerate((("all", "all"), ("de", "web"), ("ja", "web")))
    ]  # fmt: skip
    return cells(rows, columns)


def training_table():
    rows = [
        {"model": "m", "seed": 1, "stage": stage, "step": step, "tokens": 1e5 * (step + 80 * i), "loss": 9 - 3 * i - step / 40}
        for i, stage in enumerate(("stage1", "stage2"))
        for step in range(1, 81)
    ]
    return cells(rows, results.TRAINING)


def progress_table():
    """Held-out text is measured at every twentieth step, and before the first, where there is no loss."""
    rows = [
        {"model": "m", "stage": "stage1", "step": step, "tokens": 1e5 * step, "loss": 9.0 if step else None, "learning_rate": 1e-4,
         "bytes_per_second": 5e3, "heldout_bits_per_byte": 2 - step / 80 if step % 20 == 0 else None}
        for step in range(61)
    ]  # fmt: skip
    return cells(rows, [*results.TRAINING, "learning_rate", "bytes_per_second", "heldout_bits_per_byte"])


def alignment_table():
    rows = [
        {"alignment": a, "category": c, "tokens": 10, "share": s, "corpus_share": s if a == "full" else None}
        for a in ("full", "random")
        for c, s in (("special", 0.01), ("exact", 0.59), ("aligned", 0.4))
    ]
    return cells(rows, results.ALIGNMENTS)


TABLES = {
    "compression": tokenizer_table, "bits_per_byte": stage_table, "loss": training_table, "progress": progress_table,
    "alignment": alignment_table, **{name: comparison for name, source in SOURCES.items() if source.table == COMPARISON},
}  # fmt: skip


def test_each_figure_has_a_source_and_a_caption():
    assert list(draw.FIGURES) == list(SOURCES) == list(TABLES)
    template = Environment().from_string((ROOT / "workflow/report/figure.rst").read_text(encoding="utf-8"))
    captions = {}
    for name in SOURCES:
        captions[name] = template.render(snakemake={"wildcards": {"figure": name}}).strip()
        assert len(captions[name]) > 100
        if SOURCES[name].table == COMPARISON and name != "summary_radar":
            assert "95 %" in captions[name] and "*n*" in captions[name], name
    assert len(set(captions.values())) == len(SOURCES)
    assert not template.render(snakemake={"wildcards": {"figure": "other"}}).strip()


@pytest.mark.parametrize("name", draw.FIGURES)
def test_drawn_twice_the_same(name, tmp_path):
    kinds = ("svg", "pdf", "png") if name == "loss" else ("svg", "pdf")  # pixels are slow
    for number, drawn in ((1, ("png", "svg", "pdf")), (2, kinds)):
        draw.draw(name, TABLES[name](), [tmp_path / f"{number}.{kind}" for kind in drawn])
    svg = (tmp_path / "1.svg").read_bytes()
    for kind in kinds:
        assert (tmp_path / f"1.{kind}").read_bytes() == (tmp_path / f"2.{kind}").read_bytes()
    assert svg.startswith(b"<?xml")
    assert b"<dc:date>" not in svg
    assert b"CreationDate" not in (tmp_path / "1.pdf").read_bytes()
    pixels = image.imread(tmp_path / "1.png")
    assert pixels.shape[0] > 150
    assert pixels[..., :3].std() > 0.02  # not blank


def test_figures_of_a_configuration():
    """A figure is there where an evaluation has its suites, on models that it can compare."""
    least = {"perplexity": {"checkpoints": ["source", "adapted"]}, "tokenizers": {}}
    shared = {"checkpoints": ["source", "adapted"]}
    always = ["compression", "bits_per_byte", "loss", "progress", "alignment", "tokenizer_efficiency", "perplexity", "languages"]
    assert figures_of([least]) == always
    assert figures_of([{**least, "perplexity": {"checkpoints": ["adapted"]}}]) == always[:-1]
    assert figures_of([{**least, "choices": shared}]) == [*always, "nlu_tasks", "summary_radar"]
    translated = figures_of([{**least, "translation": shared}])
    assert set(translated) - set(always) == {"machine_translation", "summary_radar", "metric_disagreement", "chrf_delta_interval"}
    assert "fertility_trap" not in figures_of([{**least, "translation": shared}, {**least, "efficiency": shared}])
    everything = {**least, **dict.fromkeys(("tasks", "translation", "generation", "efficiency"), shared)}
    assert figures_of([least, everything]) == list(SOURCES)
    without_source = {**everything, "translation": {"checkpoints": ["adapted"]}}
    assert {"metric_disagreement", "fertility_trap"} & set(figures_of([without_source])) == set()


def test_progress_has_a_panel_for_each_column_with_values():
    figure = training.training_progress(progress_table())
    panels = {axes.get_title(loc="left") or axes.get_title(): axes for axes in figure.axes if axes.has_data()}
    assert list(panels) == ["held-out bits per byte", "learning rate", "thousand bytes of text per second"]
    line = panels["held-out bits per byte"].lines[0]
    assert line.get_xdata().tolist() == pytest.approx([0, 2, 4, 6])
    assert line.get_ydata().tolist() == pytest.approx([2, 1.75, 1.5, 1.25])
    assert panels["thousand bytes of text per second"].lines[0].get_ydata()[0] == 5
    assert len(training.loss_curves(progress_table()).axes[0].lines[0].get_xdata()) == 60
    with pytest.raises(ArtifactError, match="nothing was measured beside the loss"):
        training.training_progress(training_table())


def test_labels_name_what_is_shown():
    figure = vocabulary.compression(tokenizer_table())
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["all", "de", "ja"]
    assert "bytes per token" in axes.get_xlabel()
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["old", "new"]


def test_stages_show_the_numbers_of_the_table():
    panel = training.bits_per_byte(stage_table()).axes[0]
    thick = max(panel.lines, key=lambda line: line.get_linewidth())
    assert list(thick.get_ydata()) == [1.0, 2.0, 1.5, 1.2]
    assert panel.get_yscale() == "log"  # 15 is more than six times 1


def test_stage_two_continues_the_tokens():
    lines = [line for line in training.loss_curves(training_table()).axes[0].lines if len(line.get_xdata()) == 80]
    assert [line.get_xdata()[0] for line in lines] == pytest.approx([0.1, 8.1])


def test_bars_end_at_a_hundred_percent():
    axes = vocabulary.alignment_categories(alignment_table()).axes[0]
    ends = {}
    for bar in axes.patches:
        ends[round(bar.get_y(), 3)] = max(ends.get(round(bar.get_y(), 3), 0), bar.get_x() + bar.get_width())
    assert list(ends.values()) == pytest.approx([100.0] * 3)  # full twice, random by vocabulary only


def test_nothing_to_draw(tmp_path):
    for name in draw.FIGURES:
        with pytest.raises(ArtifactError, match="no rows"):
            draw.draw(name, [], [tmp_path / "x.svg"])
    with pytest.raises(InputError, match="no format of figures"):
        draw.draw("loss", training_table(), [tmp_path / "x.jpeg"])
    assert not list(tmp_path.iterdir())


def test_command(tmp_path):
    rows = comparison(languages=1)
    files.write_csv(tmp_path / "t.csv", list(rows[0]), rows)
    script = ROOT / "workflow/scripts/commands/report/draw_figure.py"
    outputs = [tmp_path / f"perplexity.{kind}" for kind in ("svg", "png", "pdf")]
    command = [sys.executable, script, "--figure", "perplexity", "--table", tmp_path / "t.csv", "--output", *outputs]
    subprocess.run(command, check=True, capture_output=True)
    assert all(path.stat().st_size > 1000 for path in outputs)
    command[5] = tmp_path / "other.csv"
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "no such file" in failed.stderr and "Traceback" not in failed.stderr
