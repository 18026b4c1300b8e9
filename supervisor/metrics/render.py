"""Figures as Prometheus text.

prometheus_client is the field's standard and brings nothing but itself: it knows the text format and its escapes, and
its parser is what the tests read the result with. Only its families and `generate_latest` are used, over what stands
here for a registry: no global one, no thread, no server of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import trio
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from actors.tally import Histogram
from supervisor.bus import BusStatistics
from supervisor.metrics.figures import FIGURES, Figure
from supervisor.metrics.view import Sources, View

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def render(sources: Sources, events: BusStatistics) -> str:
    """All figures of this moment. Others may run between two figures: with 1,000 users each takes some ms."""
    view, parts = View(sources, events), []
    for figure in FIGURES:
        parts.append(text_of(figure, view))
        await trio.lowlevel.checkpoint()
    return "".join(parts)


def text_of(figure: Figure, view: View) -> str:
    return generate_latest(_Single(family_of(figure, view))).decode()


def family_of(figure: Figure, view: View) -> Metric:
    name, about, labels = figure.name, figure.about, list(figure.labels)
    family: Any
    match figure.kind:
        case "counter":
            assert name.endswith("_total"), name
            family = CounterMetricFamily(name.removesuffix("_total"), about, labels=labels)
        case "gauge":
            family = GaugeMetricFamily(name, about, labels=labels)
        case "histogram":
            family = HistogramMetricFamily(name, about, labels=labels)
    for values, value in figure.find(view):
        assert len(values) == len(labels), (name, values)
        if isinstance(value, Histogram):
            family.add_metric(list(values), *_buckets(value))
        else:
            family.add_metric(list(values), value)
    made: Metric = family
    return made


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    counts: list[float] = [*histogram.cumulative()]
    return list(zip(bounds, counts, strict=True)), histogram.sum_s


class _Single(Collector):
    """One family, where a registry is asked for."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)
