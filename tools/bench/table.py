"""Formats results as Markdown tables, aligned to be readable as plain text."""

from __future__ import annotations

GIB = 1 << 30


def contest_table(found: dict) -> str:
    """Format the result of `contest.contest`."""
    height, width = found["size"]
    rates = ", ".join(f"{dtype} {rate / 1e9:,.0f} GFLOP/s" for dtype, rate in found["rates"].items())
    rows = []
    for row in found["rows"]:
        if "error" in row:
            rows.append([row["form"], row["dtype"], f"does not run: {row['error']}", *[""] * 5])
            continue
        difference = "" if row["difference"] is None else f"{row['difference']:.1e}"
        rows.append([row["form"], row["dtype"], f"{row['seconds']:.3f}", f"{row['times']:.2f}",
                     gib(row["peak"]), percent(row["memory"]), percent(row["floor"]), difference])
    head = ["form", "dtype", "seconds", "times", "peak GiB", "memory", "floor", "difference"]
    return "\n".join([f"{found['model']} at {width}x{height}: {found['operations'] / 1e12:.3f} TFLOP, "
                      f"{found['parameters'] / 1e6:.1f} M parameters; matrix product: {rates}", "",
                      markdown(head, rows)])


def video_table(found: list[dict]) -> str:
    """Format results of `contest.film`."""
    head = ["model", "size", "dtype", "frames", "frames/s", "GiB at 20", "at end", "peak"]
    return markdown(head, [[row["model"], "{1}x{0}".format(*row["size"]), row["dtype"], str(row["frames"]),
                            f"{row['rate']:.2f}", gib(row["settled"], 3), gib(row["end"], 3),
                            gib(row["peak"], 3)]
                           for row in found])


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Format a table with the first column aligned left, the others right; errors do not widen a column."""
    widths = [max(len(row[column]) for row in [head, *rows] if not row[column].startswith("does not run"))
              for column in range(len(head))]

    def line(cells: list[str]) -> str:
        first, *others = zip(cells, widths)
        aligned = [f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]
        return f"| {' | '.join(aligned)} |"

    rule = "|".join("-" * (width + 2) for width in widths)
    return "\n".join([line(head), f"|{rule}|", *map(line, rows)])


def gib(number: int | None, digits: int = 2) -> str:
    return "" if number is None else f"{number / GIB:.{digits}f}"


def percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
