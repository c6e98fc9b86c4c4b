"""Reports in headless Chromium: no error, no request, and nothing that axe-core finds serious. Skipped without them."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli_ray.report.document import document
from cli_ray.report.files import write_page
from cli_ray.report.page import render
from tests.report.folders import hostile_report, write_run

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip
PACKAGES = ("playwright-core@1.65.1", "axe-core@4.14.1")
LOOK = """
const { chromium } = require('playwright-core');
const [executablePath, axe, ...pages] = process.argv.slice(2);
const source = require('fs').readFileSync(axe, 'utf8');
(async () => {
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  const found = {};
  for (const path of pages) for (const width of [1440, 390]) for (const colorScheme of ['light', 'dark']) {
    const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, bypassCSP: false });
    const page = await context.newPage();
    const errors = [], requests = [];
    page.on('console', message => message.type() === 'error' && errors.push(message.text()));
    page.on('pageerror', error => errors.push(String(error)));
    page.on('request', request => !/^(data:|file:)/.test(request.url()) && requests.push(request.url()));
    await page.goto('file://' + path);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    const { result } = await (await context.newCDPSession(page)).send('Runtime.evaluate', {
      expression: source + ';axe.run().then(found => JSON.stringify(found.violations))',
      awaitPromise: true, returnByValue: true, allowUnsafeEvalBlockedByCSP: true,
    });
    const serious = JSON.parse(result.value).filter(one => ['serious', 'critical'].includes(one.impact));
    found[[path, width, colorScheme].join(' ')] = {
      errors, requests, overflow, serious: serious.map(one => [one.id, one.nodes[0].html.slice(0, 200)]),
    };
    await context.close();
  }
  await browser.close();
  console.log(JSON.stringify(found));
})();
""".replace("FLAGS", json.dumps(FLAGS))
"""Opens pages wide and narrow, light and dark, each with its own policy in force, and says what is wrong with them."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the npm packages."""
    folder = tmp_path_factory.mktemp("node")
    words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
    try:
        subprocess.run(words, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm cannot install {' '.join(PACKAGES)}: {error}")
    return folder


def test_reports_are_sound_in_a_browser(tools: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", 300, end={"step": 300, "loss": 1.0})
    many = [run, *(write_run(tmp_path / name, 50) for name in ("b", "c"))]
    pages = [write_page(document([run]), "", run)[0], write_page(document(many), f"{tmp_path}/many.html", run)[0]]
    (tmp_path / "hostile.html").write_text(render(hostile_report()))
    (tools / "look.js").write_text(LOOK)
    axe = tools / "node_modules" / "axe-core" / "axe.min.js"
    words = ["node", str(tools / "look.js"), str(CHROMIUM), str(axe), *pages, str(tmp_path / "hostile.html")]
    process = subprocess.run(words, capture_output=True, text=True, timeout=180, cwd=tools, check=False)
    assert process.returncode == 0, process.stderr
    found: dict[str, Any] = json.loads(process.stdout)
    assert len(found) == 12
    sound = {"errors": [], "requests": [], "overflow": False, "serious": []}
    assert {page: result for page, result in found.items() if result != sound} == {}
