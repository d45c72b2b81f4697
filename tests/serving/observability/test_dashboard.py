"""The Grafana dashboard asks for metrics that the server has."""

import json
import re
from pathlib import Path

import httpx

DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana.json"
SAMPLE = Path(__file__).parents[3] / "serving" / "sample.jpg"


def test_every_metric_of_the_dashboard_is_served(http: httpx.Client) -> None:
    http.get("/nothing")
    http.post("/v1/models/tiny/classify", content=SAMPLE.read_bytes())
    text = http.get("/metrics").text
    served = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    asked = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"vitrine_\w+", target["expr"])
    }
    assert asked == served
