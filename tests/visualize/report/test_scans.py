# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import tracemalloc

from monai_cuas.handlers.result_saver import update_csv
from monai_cuas.visualize.report import write_scan_report


def _row(folder, name, p_value, score, **more):
    row = {"name": name, "file": f"/data/Doe_Jane/{name}.nii.gz", "scan_p_value": p_value, "scan_score": score}
    update_csv(folder / "results.csv", {**row, "components": 0, **more})


def _order(page):
    return re.findall(r'<a href="#scan\d+">([^<]*)</a>', page)


def test_the_most_unusual_scan_stands_first(tmp_path):
    _row(tmp_path, "usual", 0.8, 1.0)
    _row(tmp_path, "unranked", "", 9.0)
    _row(tmp_path, "tied", 0.02, 2.0)
    _row(tmp_path, "odd", 0.02, 3.0, components=2)
    page = write_scan_report(tmp_path).read_text()
    assert _order(page) == ["odd", "tied", "usual", "unranked"]
    assert "4 scans, 1 with something found, 0 failed." in page


def test_the_page_holds_its_pictures_and_asks_for_nothing(tmp_path):
    _row(tmp_path, "a", 0.1, 1.0)
    (tmp_path / "a_overlay.png").write_bytes(b"picture")
    _row(tmp_path, "b", 0.2, 1.0)
    page = write_scan_report(tmp_path).read_text()
    assert 'src="data:image/png;base64,cGljdHVyZQ=="' in page
    assert page.count("There is no picture of this scan.") == 1
    assert not re.search(r"https?://|src=\"(?!data:)|<link", page)


def test_names_and_notes_are_text_and_folders_stay_out(tmp_path):
    _row(tmp_path, "<script>x", 0.1, 1.0, notes="a < b")
    update_csv(
        tmp_path / "failures.csv",
        {"name": "/data/Doe_Jane/c.nii", "problem": "/data/Doe_Jane/c.nii: torn, /data/Doe_Jane/m"},
    )
    update_csv(tmp_path / "failures.csv", {"name": "/data/Doe_Jane/d.nii", "problem": ""})
    page = write_scan_report(tmp_path).read_text()
    assert "&lt;script&gt;x" in page
    assert "<script>x" not in page
    assert "a &lt; b" in page
    assert "<b>c.nii</b>: c.nii: torn, m" in page
    assert "d.nii" not in page
    assert "Doe" not in page


def test_a_folder_without_results_has_a_page(tmp_path):
    assert "0 scans, 0 with something found, 0 failed." in write_scan_report(tmp_path).read_text()


def test_pictures_are_not_all_in_memory_at_once(tmp_path):
    def peak(scans: int) -> int:
        for k in range(scans):
            _row(tmp_path, f"s{k}", 0.1, 1.0)
            (tmp_path / f"s{k}_overlay.png").write_bytes(bytes([k]) * 300_000)
        tracemalloc.start()
        write_scan_report(tmp_path)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # a picture is 0.4 MB in the page
    assert peak(40) - peak(2) < 2_000_000
    assert (tmp_path / "report.html").stat().st_size > 15_000_000
