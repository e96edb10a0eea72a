"""Numbers as aligned text."""

from __future__ import annotations

GIB = 1 << 30


def contest_table(found: dict) -> str:
    height, width = found["size"]
    rates = ", ".join(f"{dtype} {rate / 1e9:,.0f} GFLOP/s" for dtype, rate in found["rates"].items())
    lines = [f"{found['model']} at {width}x{height}: {found['operations'] / 1e12:.3f} TFLOP, "
             f"{found['parameters'] / 1e6:.1f} M parameters; matrix product: {rates}",
             f"{'form':<12} {'dtype':<5} {'seconds':>9} {'times':>6} {'peak GiB':>9} {'memory':>7} "
             f"{'floor':>6} {'difference':>11}"]
    for row in found["rows"]:
        start = f"{row['form']:<12} {row['dtype']:<5}"
        if "error" in row:
            lines.append(f"{start} does not run: {row['error']}")
            continue
        difference = "" if row["difference"] is None else f"{row['difference']:.1e}"
        lines.append(f"{start} {row['seconds']:>9.3f} {row['times']:>6.2f} {gib(row['peak']):>9} "
                     f"{percent(row['memory']):>7} {percent(row['floor']):>6} {difference:>11}")
    return "\n".join(lines)


def film_table(found: list[dict]) -> str:
    lines = [f"{'model':<16} {'size':<10} {'dtype':<5} {'frames':>6} {'frames/s':>9} {'GiB at 20':>9} "
             f"{'at end':>7} {'peak':>7}"]
    for row in found:
        size = "{1}x{0}".format(*row["size"])
        lines.append(f"{row['model']:<16} {size:<10} {row['dtype']:<5} {row['frames']:>6} "
                     f"{row['rate']:>9.2f} {gib(row['settled'], 3):>9} {gib(row['end'], 3):>7} "
                     f"{gib(row['peak'], 3):>7}")
    return "\n".join(lines)


def gib(number: int | None, digits: int = 2) -> str:
    return "" if number is None else f"{number / GIB:.{digits}f}"


def percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
