# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The viewer in a browser without a window, from disk."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from monai_cuas.handlers.result_saver import update_csv
from monai_cuas.visualize.report import has_viewer, scans, volumes_path, write_scan_report, write_volumes

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WITHOUT_WINDOW = ["--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

# moves the slider, presses a key, and says what the page showed
DRIVER = """
(async () => {
  const get = (id) => document.getElementById(id), said = {};
  const ready = async (k) => {
    const there = () => get("viewer").dataset.ready === String(k);
    for (let i = 0; i < 600 && !there(); i++) await new Promise((r) => setTimeout(r, 50));
  };
  const move = (by) => {
    get("rate").value = Number(get("rate").value) + by;
    get("rate").dispatchEvent(new Event("input"));
    return [get("said-rate").textContent, Number(get("said-rate").dataset.voxels)];
  };
  await ready(0);
  said.first = [get("which").textContent, get("shown").textContent];
  said.run = move(0);
  said.stricter = move(20);
  said.looser = move(-40);
  document.dispatchEvent(new KeyboardEvent("keydown", {key: "n", bubbles: true}));
  await ready(1);
  said.next = [get("which").textContent, get("shown").textContent];
  const asked = performance.getEntriesByType("resource").map((e) => e.name);
  said.asked = asked.filter((name) => !/^(data|blob):/.test(name));
  const out = document.createElement("p");
  out.id = "driven";
  out.textContent = JSON.stringify(said);
  document.body.append(out);
})();
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of two scans; of the first, 1000 voxels of 1 mm lie above the threshold, of the second, none."""
    for k, name in enumerate(("a<b", "second")):
        row = {"name": name, "scan_p_value": 0.1 + k, "scan_score": 1, "components": 1 - k, "notes": "</script>"}
        update_csv(tmp_path / "results.csv", row)
        brain = np.zeros((40, 40, 40), dtype=bool)
        brain[5:35, 5:35, 5:35] = True
        anomaly = np.where(brain, 0.5, 0.0)
        if k == 0:
            anomaly[10:20, 10:20, 10:20], anomaly[25:30, 25:30, 25:30] = 3.5, 1.5
        path = volumes_path(tmp_path, name)
        path.parent.mkdir(exist_ok=True)
        grey = np.random.default_rng(k).uniform(50, 200, brain.shape)
        write_volumes(path, grey, anomaly, anomaly >= 2, brain, np.eye(4), 2.0, [0.1, 0.01, 0.001])
    return tmp_path


@pytest.mark.skipif(not has_viewer(), reason="needs monai_cuas[report]")
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_slider_key_and_silence_in_chromium(folder):
    page = write_scan_report(folder).read_text(encoding="utf-8")
    nonce = re.search(r'<script nonce="([^"]+)">', page)[1]
    driven = folder / "driven.html"
    driven.write_text(page.replace("</body>", f'<script nonce="{nonce}">{DRIVER}</script></body>'), encoding="utf-8")
    command = [CHROMIUM, *WITHOUT_WINDOW, "--virtual-time-budget=60000", "--dump-dom", driven.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout
    found = re.search(r'<p id="driven">(.*?)</p>', shown)
    assert found, shown[-2000:]
    said = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert said["first"] == ["a<b", "1.0 ml, as the run marked it."]
    assert said["run"] == ["1 in 100", 1000]
    assert said["stricter"] == ["1 in 1,000", 1000]
    assert said["looser"] == ["1 in 10", 1125]
    assert said["next"] == ["second", "Nothing is marked."]
    assert said["asked"] == []


@pytest.mark.skipif(not has_viewer(), reason="needs monai_cuas[report]")
def test_a_scan_without_volumes_is_said(folder):
    volumes_path(folder, "second").unlink()
    page = write_scan_report(folder).read_text(encoding="utf-8")
    assert "Its volumes were not kept: infer it again for the viewer." in page
    assert 'id="volumes0"' in page
    assert 'id="volumes1"' not in page


def test_without_the_package_the_page_has_pictures_and_says_so(folder, monkeypatch):
    monkeypatch.setattr("monai_cuas.visualize.report.viewer._PACKAGE", "no_such_package")
    assert not has_viewer()
    page = write_scan_report(folder).read_text(encoding="utf-8")
    assert "Pictures only: a viewer comes with pip install &#x27;monai_cuas[report]&#x27;." in page
    assert 'id="viewer"' not in page


def test_only_scripts_of_the_page_itself_may_run(folder):
    page = write_scan_report(folder).read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert (
        policy.split("'nonce-")[1].split("'")[0]
        != re.search(r"'nonce-([^']+)'", write_scan_report(folder).read_text(encoding="utf-8"))[1]
    )
    assert scans.text("</script>") in page
