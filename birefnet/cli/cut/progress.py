"""Progress with rate, failures and time left: a bar on a terminal, elsewhere a line every minute."""

from __future__ import annotations

import time

from tqdm import tqdm

from ..messages import say

LINE_SECONDS = 60.0  # between two lines


class Progress:
    """Counts pictures that were written and that failed, of `total`."""

    def __init__(self, total: int) -> None:
        self.bar = tqdm(total=total, unit="picture", disable=None, smoothing=0.02)
        self.total, self.written, self.failed = total, 0, 0
        self.start = self.last_line = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def count(self, failed: bool) -> None:
        """Count one more picture, and report progress."""
        self.written += not failed
        self.failed += failed
        if failed:
            self.bar.set_postfix(failed=self.failed, refresh=False)
        self.bar.update()
        now = time.monotonic()
        if self.bar.disable and now - self.last_line >= LINE_SECONDS:
            self.last_line = now
            say(self.line(now - self.start))

    def line(self, seconds: float) -> str:
        """"1200 of 5000 pictures, 3 failed, 20.0/s, 0:03:10 left"."""
        tried = self.written + self.failed
        left = tqdm.format_interval((self.total - tried) * seconds / tried)
        return f"{tried} of {self.total} pictures, {self.failed} failed, {tried / seconds:.1f}/s, {left} left"
