"""Make the pictures of the documentation from the running program.

Needs a Chromium and the extra `test`:

    python docs/images/make.py            # writes docs/images/demo.png
    python docs/images/make.py --look DIR # also dark, narrow and cut, to look at
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

HERE = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome")

STORY = {
    "alice": [
        ("Your export is ready", "default"),
        ("Carol mentioned you in #design", "mention"),
        ("Dave: lunch at twelve?", "dm"),
        ("Review requested: “Make a stream a cursor”", "mention"),
    ],
    "bob": [
        ("The deploy of 14:05 is live", "default"),
        ("Erin commented on your draft", "mention"),
    ],
}
READ = {"alice": "Your export is ready", "bob": "The deploy of 14:05 is live"}


@contextmanager
def demo() -> Iterator[str]:
    """Run `roundel demo` and yield its address."""
    command = [sys.executable, "-m", "roundel_service", "demo", "--bind", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)


def card(page: Page, user: str) -> Locator:
    """Return the card of *user*."""
    return page.locator(f"[data-user={user}]")


def notify(card: Locator, title: str, category: str) -> None:
    """Notify by the form, and wait until it is taken."""
    card.get_by_label("Title").fill(title)
    card.get_by_label("Category").select_option(category)
    card.get_by_role("button", name="Notify", exact=True).click()
    expect(card.get_by_label("Title")).to_have_value("")


def tell(page: Page) -> None:
    """Make alice's badge 3 and bob's 1, and let alice's wire have been cut."""
    alice = card(page, "alice")
    for user, notifications in STORY.items():
        first, *rest = notifications
        notify(card(page, user), *first)
        expect(card(page, user).locator(".items li")).to_have_count(1)
        page.get_by_role("button", name=READ[user]).click()
        card(page, user).locator(".bell").click()
        if user == "alice":
            alice.get_by_role("button", name="Cut the wire").click()
        for notification in rest:
            notify(card(page, user), *notification)
    alice.get_by_role("button", name="Reconnect").click()
    expect(alice.locator(".badge")).to_have_text("3")
    expect(card(page, "bob").locator(".badge")).to_have_text("1")
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)


def shoot(browser: Browser, file: Path, *, width: int, scheme: str, look: bool) -> None:
    """Tell the story on a page of its own and take its picture.

    One to *look* at is of the whole page, and its wire is cut.
    """
    with (
        demo() as url,
        browser.new_page(
            viewport={"width": width, "height": 640},
            device_scale_factor=2,
            color_scheme=scheme,
        ) as page,
    ):
        page.goto(url)
        tell(page)
        if look:
            card(page, "alice").get_by_role("button", name="Cut the wire").click()
            page.mouse.move(0, 0)
        else:
            page.evaluate("document.querySelector('.recipes').hidden = true")
        page.screenshot(path=file, full_page=True, animations="disabled")


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--look", type=Path, help="a directory for more pictures")
    look = parser.parse_args().look
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        sys.exit(f"expected a browser, one of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        picture = HERE / "demo.png"
        shoot(browser, picture, width=1200, scheme="light", look=False)
        if look:
            dark, narrow = look / "dark.png", look / "narrow.png"
            shoot(browser, dark, width=1200, scheme="dark", look=True)
            shoot(browser, narrow, width=400, scheme="light", look=True)
        browser.close()


if __name__ == "__main__":
    main()
