# SPDX-License-Identifier: MIT
"""'copyledger report' of a real sweep: a file that needs nothing else, looked at by a real browser."""
import base64
import json
import re
import shutil

import pytest

from support import running

EVIL = "</script><img src=x onerror=alert(1)>"
SWEEP = ("--sizes", "1K,64K", "--threads", "1", "--repeat", "2", "--duration", "30ms", "--warmup", "0", "--label", EVIL)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("report"), env={"LC_ALL": "C.UTF-8"}) as d:
        made = d.cli("sweep", *SWEEP)
        assert made.returncode == 0, made.stderr
        yield d


@pytest.fixture(scope="module")
def report(daemon, tmp_path_factory):
    file = tmp_path_factory.mktemp("made") / "a report.html"
    done = daemon.cli("report", "--output", str(file))
    assert done.returncode == 0 and done.stdout.strip() == str(file), done.stderr
    return file


@pytest.fixture(scope="module")
def runs(daemon):
    return [json.loads(line) for line in daemon.cli("export", "--jsonl").stdout.splitlines()]


def embedded(report):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', report.read_text(), re.S)[1])


def test_it_holds_the_stored_documents(report, runs):
    data = embedded(report)
    assert data["results"] == runs and len(runs) == 12
    for cell in data["cells"]:
        mine = [r for r in runs if r["id"] in cell["runs"]]
        for site, total in cell["flow"].items():
            assert total == sum(s["bytes"] or 0 for r in mine for s in r["ledger"]["sites"] if s["site"] == site)


def test_nothing_breaks_out_and_nothing_is_fetched(report):
    text = report.read_text()
    assert EVIL not in text and text.count("</script>") == 2 and "onerror" not in re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert not re.search(r'(src|href)="(?!data:|#)', text) and "@import" not in text and "default-src 'none'" in text


@pytest.mark.skipif(not shutil.which("gnuplot"), reason="gnuplot is not installed (tools/deps.sh check)")
def test_its_figures_are_inside(report):
    figures = re.findall(r'<img alt="([^"]+)" src="data:image/svg\+xml;base64,([^"]+)"', report.read_text())
    assert len(figures) == 7 and all(b"<svg" in base64.b64decode(data) for _, data in figures)
    assert any("Copies per byte" in alt for alt, _ in figures)


def test_without_gnuplot_it_is_whole_otherwise(daemon, tmp_path):
    before, daemon.env = daemon.env, {**daemon.env, "PATH": str(tmp_path)}
    try:
        done = daemon.cli("report", "--output", str(tmp_path / "r.html"))
    finally:
        daemon.env = before
    assert done.returncode == 0 and "gnuplot-nox" in done.stderr
    assert "They were not drawn" in (tmp_path / "r.html").read_text() and embedded(tmp_path / "r.html")["cells"]


def test_where_nothing_can_be_written(daemon, tmp_path):
    for file in (tmp_path, tmp_path / "no" / "folder"):
        done = daemon.cli("report", "--output", str(file))
        assert done.returncode == 1 and str(file) in done.stderr
    done = daemon.cli("report", "--output", "/dev/full")
    assert done.returncode == 1 and "No space" in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_a_store(tmp_path):
    with running(tmp_path) as d:
        done = d.cli("report", "--output", str(tmp_path / "r.html"))
    assert done.returncode == 2 and not (tmp_path / "r.html").exists()


# ---- in a browser ----

@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="no python3-selenium (tools/deps.sh programs)")
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("no chromium or no chromedriver (tools/deps.sh programs)")
    from selenium.webdriver.chrome.service import Service
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, report):
    browser.set_window_size(1280, 900)
    browser.get(report.as_uri())
    return browser


def script(page, text):
    return page.execute_script("return " + text)


def test_it_renders_without_a_complaint(page):
    assert [e for e in page.get_log("browser") if e["level"] in ("SEVERE", "WARNING")] == []
    assert script(page, "document.querySelectorAll('#words h3').length") == 7
    assert script(page, "document.querySelectorAll('#table tbody tr').length") == 6
    assert script(page, "document.querySelectorAll('#hosttable tr').length") > 50
    assert script(page, "[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert script(page, "document.querySelectorAll('img[src=x]').length") == 0


def test_widths_are_bytes(page):
    for index in range(script(page, "document.getElementById('cell').length")):
        links = page.execute_script(
            "const c = document.getElementById('cell'); c.selectedIndex = arguments[0]; c.dispatchEvent(new Event('change'));"
            "return [...document.querySelectorAll('#flow .link')].map(l => [+l.dataset.bytes, +l.dataset.width,"
            "l.getBBox().height > 0])", index)
        assert links and all(drawn for _, _, drawn in links)
        scale = links[0][1] / links[0][0]
        assert all(width == pytest.approx(size * scale) for size, width, _ in links)


def test_the_flow_shows_what_the_ledger_has(page, report):
    cells = embedded(report)["cells"]
    index = next(i for i, c in enumerate(cells) if c["mode"] == "zero-copy")
    nodes = dict(page.execute_script(
        "const c = document.getElementById('cell'); c.value = arguments[0]; c.dispatchEvent(new Event('change'));"
        "return [...document.querySelectorAll('#flow [data-node]')].map(n => [n.dataset.node, +n.dataset.bytes])", index))
    flow = cells[index]["flow"]
    assert nodes["tx_pin"] == flow["tx_pin"] and nodes["deferred"] == min(flow["tx_deferred_copy"], flow["tx_pin"])
    assert nodes["end"] == pytest.approx(flow["rx_copy"]) and "app_pack" not in nodes


def test_tables_sort_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys
    column = "[...document.querySelectorAll('#table tbody tr')].map(r => r.cells[7].textContent)"
    button = page.find_elements("css selector", "#table th button")[7]
    button.send_keys(Keys.ENTER)
    up = [float(v.replace(",", "")) for v in script(page, column)]
    assert up == sorted(up) and script(page, "document.querySelectorAll('#table th')[7].ariaSort") == "ascending"
    button.send_keys(Keys.SPACE)
    down = [float(v.replace(",", "")) for v in script(page, column)]
    assert down == up[::-1] and script(page, "document.querySelectorAll('#table [aria-sort=descending]').length") == 1


@pytest.mark.parametrize("width", [400, 1280, 3840])
def test_no_width_makes_the_page_scroll_sideways(page, width):
    # a headless window has a least width; the emulated screen has none
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                         {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
    try:
        assert script(page, "window.innerWidth") == width
        assert script(page, "document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_and_light(page):
    def colours(scheme):
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        style = "getComputedStyle(document.body)"
        return [sum(map(int, re.findall(r"\d+", script(page, f"{style}.{what}"))[:3])) for what in ("backgroundColor", "color")]

    (light, light_text), (dark, dark_text) = colours("light"), colours("dark")
    assert light > 600 > light_text and dark < 150 < 600 < dark_text


def test_it_prints(page):
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF-") and len(pdf) > 20000
