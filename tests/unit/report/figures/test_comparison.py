"""Figures of the comparison: what is drawn is what the table says, and what it does not say is refused."""

import logging
import math
import re

import numpy as np
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt
from matplotlib.text import Text
from support.comparison import comparison
from tokalign.common.errors import ArtifactError
from tokalign.report.figures import draw, names, panels, paper, quality, speed, summary, systems
from tokalign.report.figures.common import STYLE
from tokalign.report.figures.sources import COMPARISON, SOURCES

OF_COMPARISON = [name for name, source in SOURCES.items() if source.table == COMPARISON]
PUBLISHED = "pythia-1b qwen2 (published: Doe 2025)"


@pytest.fixture(autouse=True)
def closed():
    """Close what a test has drawn."""
    yield
    plt.close("all")


def titles(figure):
    return [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]


def panel(figure, beginning):
    (found,) = [axes for axes, title in zip(figure.axes, titles(figure), strict=True) if title.startswith(beginning)]
    return found


def bars(axes):
    """Return widths of the bars by their place from top to bottom."""
    return [bar.get_width() for bar in sorted(axes.patches, key=lambda bar: bar.get_y())]


def drawn_intervals(axes):
    """Return (low, high) of the whiskers from top to bottom."""
    found = [(line[0][1], line[0][0], line[1][0]) for part in axes.collections for line in part.get_segments() if len(line) == 2]
    across = [(y, low, high) for y, low, high in found if low != high]
    return [(low, high) for _, low, high in sorted(across)]


def values(table, suite, metric, **wanted):
    rows = [row for row in table if (row["suite"], row["metric"]) == (suite, metric)]
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


# ---------------------------------------------------------------------------------------------------- bars


def test_bars_and_whiskers_are_those_of_the_table():
    table = comparison(systems=3, languages=2)
    figure = quality.perplexity(table)
    rows = values(table, "perplexity", "bits_per_byte")
    order = [(language, system) for language in ("all", "ar", "de") for system in ("source", "initialized: random", "stage2")]
    found = {(row["language"], row["system"]): row for row in rows}
    axes = panel(figure, "Bits per byte")
    assert bars(axes) == [float(found[key]["value"]) for key in order]
    expected = [(float(found[key]["ci_low"]), float(found[key]["ci_high"])) for key in order]
    assert drawn_intervals(axes) == pytest.approx(np.array(expected))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all\nn = 900", "ar\nn = 450", "de\nn = 300"]
    assert axes.get_xlabel() == "bits per byte\n(less is better)"
    assert axes.get_xlim()[0] == 0
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["source", "initialized: random", "stage2"]


def test_a_value_without_interval_has_no_whisker():
    figure = quality.perplexity(comparison(intervals=False))
    assert len(bars(panel(figure, "Bits per byte"))) == 6
    assert drawn_intervals(panel(figure, "Bits per byte")) == []


def test_a_system_looks_the_same_in_all_figures():
    table = comparison(systems=4)
    looks = []
    for figure_of in (quality.perplexity, paper.metric_disagreement):  # the source model is not in the second
        figure = figure_of(table)
        handles = {handle.get_label(): handle for handle in figure.legends[0].get_patches()}
        looks.append((handles["stage2"].get_facecolor(), handles["stage2"].get_hatch()))
    assert looks[0] == looks[1]
    every = systems.systems_of(row for row in comparison(systems=7) if row["role"] != "tokenizer").values()
    assert len({(system.color, system.bar["hatch"], system.marker) for system in every}) == 7
    assert len({system.marker for system in every}) == len({system.bar["hatch"] for system in every}) == 7  # also without color


def test_published_numbers_are_marked():
    figure = quality.machine_translation(comparison(published=True))
    axes = panel(figure, "BLEU")
    hollow = [bar for bar in axes.patches if bar.get_facecolor() == colors.to_rgba("white")]
    assert [bar.get_width() for bar in hollow] == [14.1]
    assert hollow[0].get_linestyle() == "--" and hollow[0].get_hatch() == "////"
    assert figure.legends[0].get_texts()[-1].get_text() == PUBLISHED
    assert len(axes.get_yticklabels()) == 2  # beside the same direction, though it names no language
    assert systems.System("theirs", "published", 3, True).label == "theirs (published)"


def test_a_published_number_in_another_unit_is_left_out(caplog):
    table = comparison(published=True)
    for row in table:
        if row["origin"] == "published" and row["metric"] == "bleu":
            row |= {"unit": "share", "value": "0.141"}
    with caplog.at_level(logging.WARNING):
        axes = panel(quality.machine_translation(table), "BLEU")
    assert min(bars(axes)) > 1 and "bleu of pythia-1b" in caplog.text and "its unit is share, here it is %" in caplog.text


def test_several_evaluations_have_panels_of_their_own():
    table = comparison(evaluations=("office", "medical"))
    for row in table:
        if row["evaluation"] == "medical":
            row["value"] = str(2 * float(row["value"]))
    figure = quality.perplexity(table)
    assert [title.split(" · ")[0] for title in titles(figure)] == ["office", "office", "medical", "medical"]
    first, _, second, _ = map(bars, figure.axes)
    assert second == pytest.approx([2 * value for value in first])


def test_accuracies_of_tasks_and_choices():
    table = comparison()
    axes = panel(quality.nlu_tasks(table), "Tasks of lm-evaluation-harness\n")
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "arc_easy · acc", "arc_easy · acc_norm", "hellaswag · acc_norm", "lambada_openai · acc",
    ]  # fmt: skip
    assert bars(axes)[::2] == [0.62, 0.58, 0.43, 0.51]
    axes = panel(quality.nlu_tasks(table), "Multiple-choice")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["raw", "bytes", "characters"]
    assert [segment[0][0] for part in axes.collections for segment in part.get_segments() if segment[0][0] == segment[1][0]] == [
        0.25
    ]
    assert bars(panel(quality.nlu_tasks(table), "Tasks of lm-evaluation-harness: perplexity"))[0] == 9.1
    only = [row for row in table if row["suite"] == "choices"]
    assert len(quality.nlu_tasks(only).axes) == 1


def test_generation_has_a_column_for_each_decoding_on_the_same_axis():
    figure = quality.generation_quality(comparison())
    greedy, nucleus = panel(figure, "Distinct n-grams, greedy"), panel(figure, "Distinct n-grams, nucleus")
    assert bars(greedy)[::2] == [0.2, 0.375, 0.44] and bars(nucleus)[::2] == [0.4, 0.75, 0.88]
    assert greedy.get_xlim() == nucleus.get_xlim()
    assert [label.get_text() for label in greedy.get_yticklabels()] == ["distinct-1", "distinct-2", "distinct-3"]


# ------------------------------------------------------------------------------------------------- of the paper


def test_each_interval_of_chrf_delta_belongs_to_the_estimate_beside_it():
    """The corpus value was published with the interval of the mean over segments."""
    table = comparison()
    figure = paper.chrf_delta_interval(table)
    for title, level in (("chrF-Δ: of the whole text", "corpus"), ("chrF-Δ: mean over segments", "item")):
        rows = values(table, "translation", "chrf_delta", level=level)
        axes = panel(figure, title)
        shown = [(float(line.get_xdata()[0])) for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker() in "os"]
        assert shown == [float(row["value"]) for row in rows]
        expected = [(float(row["ci_low"]), float(row["ci_high"])) for row in rows]
        assert drawn_intervals(axes) == pytest.approx(np.array(expected))
        assert all(low <= value <= high for (low, high), value in zip(drawn_intervals(axes), shown, strict=True))


def test_disagreement_is_relative_to_the_source_model():
    table = comparison()
    axes = panel(paper.metric_disagreement(table), "office-es-en, greedy")
    assert bars(axes) == pytest.approx([-14.4, -9.6, 15.6, 12.0], abs=1e-3)  # 1.2 x (factor - 1)
    (row,) = values(table, "translation", "bleu", dataset="office-es-en", system="stage2")
    low, high = (100 * float(row[f"difference_ci_{end}"]) / 16 for end in ("low", "high"))
    assert drawn_intervals(axes)[0] == pytest.approx((low, high))
    assert [label.get_text() for label in axes.get_yticklabels()][::3] == ["BLEU\n(more is better)", "TER\n(less is better)"]


def test_fertility_trap_shows_the_tokenizer_of_each_model():
    table = comparison(systems=4)
    figure = paper.fertility_trap(table)
    fertility = {row["system"]: float(row["value"]) for row in values(table, "tokenizers", "fertility", language="all")}
    assert bars(panel(figure, "Fertility")) == [fertility["smollm"], *3 * [fertility["16k"]]]
    throughput = values(table, "efficiency", "decode_bytes_per_second", condition="batch 8", system="stage2")
    assert float(throughput[0]["value"]) in bars(panel(figure, "Throughput"))
    scaled = panel(figure, "chrF-E (exploratory)")
    assert len(bars(scaled)) == 6  # three models, two directions; for the source model a line
    assert {segment[0][0] for part in scaled.collections for segment in part.get_segments()} == {33.0}


# ------------------------------------------------------------------------------------- points, dumbbells and radar


def test_values_of_a_tokenizer_that_is_compared_twice_are_drawn_once():
    table = comparison()
    rows = [row for row in table if row["suite"] == "tokenizers"]
    again = [{**row, "system": f"{row['system']} (beside x)", "baseline": "x"} for row in rows]
    assert systems.of_models([*rows, *again], [*table, *again]) == systems.of_models(rows, table)


def test_languages_connects_source_and_adapted():
    table = comparison(systems=4, languages=9)
    figure = quality.languages(table)
    (axes,) = figure.axes
    connections = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    assert len(connections) == 10
    rows = {row["system"]: float(row["value"]) for row in values(table, "perplexity", "bits_per_byte", language="ja")}
    assert [rows["source"], rows["stage2"]] in [list(map(float, line)) for line in connections]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["source", "stage2"]
    with pytest.raises(ArtifactError, match="no adapted model beside its source"):
        quality.languages([row for row in table if row["role"] != "adapted"])


def test_quality_over_speed():
    table = comparison(systems=4)
    figure = speed.quality_speed(table)
    axes = figure.axes[0]
    speeds = {
        row["system"]: float(row["value"]) for row in values(table, "efficiency", "decode_bytes_per_second", condition="batch 1")
    }
    losses = {row["system"]: float(row["value"]) for row in values(table, "perplexity", "bits_per_byte", language="all")}
    points = {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() in systems.MARKERS}
    assert points == {(speeds[name], losses[name]) for name in speeds}
    assert {text.get_text() for text in axes.texts} == set(speeds)
    accuracy = speed.mean_accuracies(speed.accuracies(table))
    expected = np.mean([0.58, 0.43, 0.51, 0.55])  # acc_norm of two tasks, acc of the third, and by bytes
    assert accuracy["source", False] == (pytest.approx(expected), 4)


def test_names_of_points_do_not_overlap():
    figure = speed.quality_speed(comparison(systems=7))
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the line to the point
        assert len(boxes) == 7
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_axes_of_the_radar_are_measured_ratios():
    table = comparison()
    figure = summary.summary_radar(table)
    (axes,) = figure.axes
    (line,) = [line for line in axes.lines if line.get_marker() != "None"]
    labels = [text.get_text().replace("\n", " ") for text in axes.texts if text.get_text()]
    assert labels[:2] == ["bytes per token: model / source", "bits per byte: source / model"]
    value = dict(zip(labels, line.get_ydata(), strict=False))
    assert value["bits per byte: source / model"] == pytest.approx(1 / 1.084)
    assert value["chrF++: model / source, mean of 2"] == pytest.approx(1.156)
    assert value["peak memory: source / model, mean of 2"] == pytest.approx(1 / 1.06)
    right = math.prod((0.964, 0.976, 0.94, 0.976)) ** 0.25
    assert value["accuracy: model / source, mean of 4"] == pytest.approx(right)
    merged = [row | {"origin": "merged", "system": f"{row['system']} (merged: x)", "value": "99"} for row in table
              if row["suite"] == "tokenizers"]  # fmt: skip
    (axes,) = summary.summary_radar([*table, *merged]).axes
    (other,) = [line for line in axes.lines if line.get_marker() != "None"]
    assert list(other.get_ydata()) == list(line.get_ydata())
    least = [row for row in table if row["suite"] in ("perplexity", "tokenizers")]
    with pytest.raises(ArtifactError, match="too little was measured"):
        summary.summary_radar(least)
    unpaired = [row | {"baseline_value": ""} if row["suite"] == "translation" else row for row in table]
    (axes,) = summary.summary_radar(unpaired).axes
    assert not any("chrF" in text.get_text() for text in axes.texts)  # what was not measured on both has no axis


# ----------------------------------------------------------------------------------------------------- all figures

MISSING = {
    "tokenizer_efficiency": names.SINGLE_TOKEN_WORDS, "perplexity": names.NORMALIZED_PERPLEXITY, "languages": names.BITS_PER_BYTE,
    "machine_translation": names.TER, "generation_quality": names.SELF_BLEU, "efficiency": names.PEAK_MEMORY,
    "quality_speed": names.WRITTEN_BYTES, "fertility_trap": names.CHRF_E, "metric_disagreement": names.CHRF,
    "chrf_delta_interval": names.CHRF_DELTA, "paper_summary": names.FERTILITY,
}  # fmt: skip


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_metric_is_named(name):
    table = [row for row in comparison() if row["metric"] != MISSING[name]]
    with pytest.raises(
        ArtifactError, match=re.escape(f"figure {name}: the comparison has no value of {MISSING[name]} of the suite")
    ):
        draw.FIGURES[name](table)


def test_figures_of_other_suites_are_drawn_without_it():
    table = [row for row in comparison() if row["suite"] not in ("tasks", "choices")]
    with pytest.raises(ArtifactError, match="no row of the suites tasks and choices"):
        quality.nlu_tasks(table)
    assert len(speed.quality_speed(table).axes) == 2  # batch sizes, no accuracy


@pytest.mark.parametrize("name", OF_COMPARISON)
def test_texts_can_be_read(name):
    """No text is smaller than 8 points or lies outside of the picture."""
    with plt.rc_context(STYLE):
        figure = draw.FIGURES[name](comparison(systems=7, languages=5, published=True))
        figure.canvas.draw()
        width, height = figure.canvas.get_width_height()
        texts = [text for text in figure.findobj(plt.Text) if text.get_visible() and text.get_text().strip()]
        assert min(text.get_fontsize() for text in texts) >= 8
        ticks = {id(label) for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())}
        for text in texts:
            box = text.get_window_extent()
            if id(text) not in ticks:
                assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()


def test_large_numbers_are_short():
    assert [panels._format(value) for value in (0.0616, 1.9, 997.4, 1234.0, 41_000.0, 8.1e8)] == [
        "0.0616", "1.9", "997", "1,234", "41.0 k", "810.0 M",
    ]  # fmt: skip
