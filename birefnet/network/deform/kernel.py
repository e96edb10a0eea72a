"""The Triton kernel behind birefnet.network.deform.triton; importing this file imports Triton."""

import triton
import triton.language as tl


@triton.jit
def gather_columns(
    rows, offset, modulation, columns,
    first, stop, height, width, band, first_row, side,
    offset_batch, offset_channel, offset_row, offset_column,
    modulation_batch, modulation_channel, modulation_row, modulation_column,
    CHANNELS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):
    """Compute one tap's modulated bilinear samples, all channels, at BLOCK of the flat positions first..stop.

    rows: channels-last images [B·H·W,CHANNELS]. columns: [stop − first, side²·CHANNELS]. Positions enumerate
    the images' rows first_row..first_row + band; offset and modulation hold values of these and are read by
    strides. PADDED is CHANNELS rounded up to a power of two, as Triton's blocks require. The tap is the
    fastest axis of the grid, so that programs which run together read the same neighbourhood.
    """
    tap = tl.program_id(0)
    local = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    position = first + local
    real = position < stop
    position = tl.where(real, position, first)
    image = (position // (band * width)).to(tl.int64)
    y = position // width % band
    x = position % width

    place = offset + image * offset_batch + y.to(tl.int64) * offset_row + x.to(tl.int64) * offset_column
    place += tap.to(tl.int64) * 2 * offset_channel
    at_y = tl.load(place).to(tl.float32) + (y + first_row + tap // side - side // 2)
    at_x = tl.load(place + offset_channel).to(tl.float32) + (x + tap % side - side // 2)
    place = modulation + image * modulation_batch + tap.to(tl.int64) * modulation_channel
    place += y.to(tl.int64) * modulation_row + x.to(tl.int64) * modulation_column
    factor = tl.load(place).to(tl.float32)

    # One pixel outside or farther, samples are zero. NaN fails all comparisons and is never converted to int.
    inside = (at_y > -1.0) & (at_y < height) & (at_x > -1.0) & (at_x < width)
    at_y = tl.where(inside, at_y, 0.0)
    at_x = tl.where(inside, at_x, 0.0)
    down, right = at_y - tl.floor(at_y), at_x - tl.floor(at_x)
    top, left = tl.floor(at_y).to(tl.int32), tl.floor(at_x).to(tl.int32)
    low = factor * down
    high = factor - low

    channel = tl.arange(0, PADDED)
    corner = rows + ((image * height + top) * width + left) * CHANNELS
    columns += local.to(tl.int64) * (side * side * CHANNELS) + tap * CHANNELS
    write = real[:, None]
    if CHANNELS != PADDED:
        write = write & (channel < CHANNELS)[None, :]
    sample = tl.zeros((BLOCK, PADDED), tl.float32)
    for south in tl.static_range(2):
        for east in tl.static_range(2):
            share = (low if south else high) * (right if east else 1.0 - right)
            seen = inside & (top + south >= 0) & (top + south < height)
            seen = seen & (left + east >= 0) & (left + east < width)
            read = seen[:, None] & write
            neighbour = corner + (south * width + east) * CHANNELS
            value = tl.load(neighbour[:, None] + channel[None, :], mask=read, other=0.0).to(tl.float32)
            sample += share[:, None] * value
    tl.store(columns[:, None] + channel[None, :], sample.to(columns.dtype.element_ty), mask=write)
