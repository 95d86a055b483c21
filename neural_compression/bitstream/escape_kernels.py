"""Compiled loops of escape blocks: an adaptive binary range coder, and what it codes of a block.

The same functions write, read and estimate, so that they cannot differ: `code_block` and all below it take a value and
return it, or the one that was read. Whatever decides how a decision is coded is an integer.
"""

import numpy as np

from common.jit import compiled

ESTIMATE, ADAPT, ENCODE, DECODE = range(4)  # the first two write nothing; the first does not learn either
KIND, LOW, RANGE, CODE, PLACE = range(5)  # of the coder's int64 numbers; PLACE is the next byte of the buffer
PALETTE = 3  # kind of a block; those before have transforms of 8, 16 and 32
COLORS = 16  # most of a palette, and of the colors that are remembered
_HALF = 32768  # probabilities of a 1 are in units of 1 / 65536
_LEAST, _MOST = 64, 65536 - 64  # so many of them
_SLOWEST = 62  # decisions that a probability is the mean of, from then on with falling weights
_UNARY = 14  # decisions about a magnitude before it goes on in plain bits
_MOST_PLAIN = 20  # of these; a damaged stream has more

_RATES = (65536 / (np.arange(_SLOWEST + 1) + 1.6)).astype(np.int64)
_COSTS = -np.log2((np.arange(4096) + 0.5) / 4096)

# Where the contexts of each decision begin.
_IS_PALETTE, _SIZE = 0, 3
_CODED = _SIZE + 6
_LAST = _CODED + 18
_SIGNIFICANT = _LAST + 3 * 2 * 12 * 2
_MAGNITUDE = _SIGNIFICANT + 3 * 2 * 4 * 8
_NUMBER = _MAGNITUDE + 2 * 2 * 5 * 8
_REMEMBERED = _NUMBER + 16
_WHICH = _REMEMBERED + 2
_LIKE_LEFT = _WHICH + 32
_LIKE_UP = _LIKE_LEFT + 512
_INDEX = _LIKE_UP + 16
CONTEXTS = _INDEX + 3 * 16


@compiled()
def bit(coder, buffer, model, tally, context, value):
    """One decision; `model` (CONTEXTS, 2) int32 has of each context the probability of a 1 and how much it has seen."""
    p = max(int(model[context, 0]), _LEAST) if model[context, 0] < _HALF else min(int(model[context, 0]), _MOST)
    kind = coder[KIND]
    if kind >= ENCODE:
        value = _split(coder, buffer, (coder[RANGE] >> 16) * p, value)
    else:
        tally[0] += _COSTS[(p if value else 65536 - p) >> 4]
    if kind != ESTIMATE:
        seen = model[context, 1]
        p = int(model[context, 0])
        model[context, 0] = p + ((((65536 if value else 0) - p) * _RATES[seen]) >> 16)
        if seen < _SLOWEST:
            model[context, 1] = seen + 1
    return value


@compiled()
def _split(coder, buffer, bound, value):
    """A 1 takes the lower part of the range, up to `bound`."""
    if coder[KIND] == DECODE:
        value = 1 if coder[CODE] < bound else 0
    if value:
        coder[RANGE] = bound
    else:
        coder[RANGE] -= bound
        if coder[KIND] == DECODE:
            coder[CODE] -= bound
        else:
            coder[LOW] += bound
    if coder[KIND] == ENCODE and coder[LOW] >= 1 << 32:  # carry
        coder[LOW] -= 1 << 32
        place = coder[PLACE] - 1
        while buffer[place] == 255:
            buffer[place] = 0
            place -= 1
        buffer[place] += 1
    while coder[RANGE] < 1 << 24:
        coder[RANGE] <<= 8
        if coder[KIND] == DECODE:
            byte = buffer[coder[PLACE]] if coder[PLACE] < len(buffer) else 0
            coder[CODE] = (coder[CODE] << 8) | byte
        else:
            if coder[PLACE] < len(buffer):
                buffer[coder[PLACE]] = coder[LOW] >> 24
            coder[LOW] = (coder[LOW] << 8) & 0xFFFFFFFF
        coder[PLACE] += 1
    return value


@compiled()
def _plain(coder, buffer, tally, count, value):
    """`count` bits as they are, the highest first."""
    if coder[KIND] < ENCODE:
        tally[0] += count
        return value
    result = 0
    for i in range(count - 1, -1, -1):
        result = 2 * result + _split(coder, buffer, coder[RANGE] >> 1, (value >> i) & 1)
    return result


@compiled()
def _tree(coder, buffer, model, tally, context, count, value):
    """`count` bits, the highest first, each in the context of those before."""
    node = 1
    for i in range(count - 1, -1, -1):
        node = 2 * node + bit(coder, buffer, model, tally, context + node, (value >> i) & 1)
    return node - (1 << count)


@compiled()
def _magnitude(coder, buffer, model, tally, context, value):
    """From 1 on: decisions whether it goes on, then an exponential Golomb code."""
    level = 1
    while level <= _UNARY:
        if not bit(coder, buffer, model, tally, context + 8 * min(level - 1, 4), 1 if value > level else 0):
            return level
        level += 1
    rest, count = value - level + 1, 0
    while (rest >> (count + 1)) > 0:
        count += 1
    length = 0
    while length < _MOST_PLAIN and _plain(coder, buffer, tally, 1, 1 if length < count else 0):
        length += 1
    return level - 1 + ((1 << length) | _plain(coder, buffer, tally, length, rest & ((1 << length) - 1)))


@compiled()
def _coefficients(coder, buffer, model, tally, size, part, levels, predicted, near, scan, magnitudes):
    """The levels (S, S) of one transform, S = 8 << size, the first as a difference; returns whether any is not zero.

    `part` is 0 for luminance, 1 for colors; `near` says how many transforms on the left and above have levels; `scan`
    (S², 2) has rows and columns from the lowest frequency on; `magnitudes` is to work with.
    """
    side, last = 8 << size, -1
    reading = coder[KIND] == DECODE
    if not reading:
        levels[0, 0] -= predicted
        for i in range(side * side - 1, -1, -1):
            if levels[scan[i, 0], scan[i, 1]]:
                last = i
                break
    any_level = bit(coder, buffer, model, tally, _CODED + (size * 2 + part) * 3 + near, 1 if last >= 0 else 0)
    if any_level:
        count = 0
        while ((last + 1) >> (count + 1)) > 0:
            count += 1
        context, length = _LAST + (size * 2 + part) * 24, 0
        while length < 6 + 2 * size and bit(coder, buffer, model, tally, context + length, 1 if length < count else 0):
            length += 1
        rest = (last + 1) & ((1 << length) - 1)
        if length:  # the highest of the others is worth a context
            high = bit(coder, buffer, model, tally, context + 12 + min(length, 11), rest >> (length - 1))
            low = _plain(coder, buffer, tally, length - 1, rest & ((1 << (length - 1)) - 1))
            rest = (high << (length - 1)) | low
        last = min((1 << length) + rest - 1, side * side - 1)
        magnitudes[: side + 2, : side + 2] = 0
        for i in range(last, -1, -1):
            y, x = scan[i, 0], scan[i, 1]
            total = min(magnitudes[y, x + 1], 3) + min(magnitudes[y + 1, x], 3) + min(magnitudes[y + 1, x + 1], 3)
            total += min(magnitudes[y, x + 2], 3) + min(magnitudes[y + 2, x], 3)
            far = ((y + x) * 8) >> (size + 3)
            zone = 0 if i == 0 else (1 if far < 2 else (2 if far < 5 else 3))
            level = levels[y, x]
            context = _SIGNIFICANT + ((size * 2 + part) * 4 + zone) * 8 + min(total, 7)
            if i < last and not bit(coder, buffer, model, tally, context, 1 if level else 0):
                continue  # the last one is not zero
            context = _MAGNITUDE + (part * 2 + (1 if zone == 0 else 0)) * 40 + min((total + 1) >> 1, 7)
            magnitude = _magnitude(coder, buffer, model, tally, context, abs(level))
            magnitudes[y, x] = magnitude
            negative = _plain(coder, buffer, tally, 1, 1 if level < 0 else 0)
            levels[y, x] = -magnitude if negative else magnitude
    levels[0, 0] += predicted
    return any_level


@compiled()
def code_block(coder, buffer, model, tally, kind, levels, palette, number, indices, r, c, state, work):
    """A block of `escape.Blocks` at row r and column c of blocks; returns its kind, and how many colors it has.

    `state` is what was coded before, see `escape.Coding`; `work` is (scans, magnitudes).
    """
    kinds, cells, known, coded, canvas, remembered, last = state
    learning = coder[KIND] != ESTIMATE
    near = (1 if c > 0 and kinds[r, c - 1] == PALETTE else 0) + (1 if r > 0 and kinds[r - 1, c] == PALETTE else 0)
    if bit(coder, buffer, model, tally, _IS_PALETTE + near, 1 if kind == PALETTE else 0):
        kind = PALETTE
        number = _palette(coder, buffer, model, tally, palette, number, remembered)
        _indices(coder, buffer, model, tally, palette, number, indices, 32 * r, 32 * c, canvas)
        known[4 * r : 4 * r + 4, 4 * c : 4 * c + 4] = 0
        coded[:, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4] = 0
    else:
        larger = bit(coder, buffer, model, tally, _SIZE, 1 if kind > 0 else 0)
        kind = larger + (bit(coder, buffer, model, tally, _SIZE + 1, 1 if kind > 1 else 0) if larger else 0)
        _transforms(coder, buffer, model, tally, kind, levels, r, c, cells, known, coded, last, work)
        canvas[32 * r : 32 * r + 32, 32 * c : 32 * c + 32] = -1
    if learning:
        kinds[r, c] = kind
    return kind, number


@compiled()
def _transforms(coder, buffer, model, tally, size, levels, r, c, cells, known, coded, last, work):
    scans, magnitudes = work
    side, wide = 8 << size, 1 << size  # in pixels, in cells of 8
    scan = scans[(64, 320, 1344)[size] - side * side : (64, 320, 1344)[size]]
    for y in range(4 * r, 4 * r + 4, wide):
        for x in range(4 * c, 4 * c + 4, wide):
            for channel in range(3):
                left, up = x > 0 and known[y, x - 1], y > 0 and known[y - 1, x]
                near = (1 if left and coded[channel, y, x - 1] else 0) + (1 if up and coded[channel, y - 1, x] else 0)
                mean = last[channel]
                if left and up:
                    mean = (cells[channel, y, x - 1] + cells[channel, y - 1, x]) >> 1
                elif left:
                    mean = cells[channel, y, x - 1]
                elif up:
                    mean = cells[channel, y - 1, x]
                top, start = 8 * y - 32 * r, 8 * x - 32 * c
                part = levels[channel, top : top + side, start : start + side]
                predicted = (mean * wide + 2) >> 2
                has = _coefficients(
                    coder, buffer, model, tally, size, min(channel, 1), part, predicted, near, scan, magnitudes
                )
                cells[channel, y : y + wide, x : x + wide] = part[0, 0] * (4 >> size)
                coded[channel, y : y + wide, x : x + wide] = has
                if coder[KIND] != ESTIMATE:
                    last[channel] = part[0, 0] * (4 >> size)
            known[y : y + wide, x : x + wide] = 1


@compiled()
def _palette(coder, buffer, model, tally, palette, number, remembered):
    """Colors as places among the last 16 new ones, or in plain bits; `remembered` has the next place at its end."""
    number = 1 + _tree(coder, buffer, model, tally, _NUMBER, 4, number - 1)
    for i in range(number):
        place = -1
        if coder[KIND] != DECODE:
            for j in range(COLORS):
                if remembered[j] == palette[i]:
                    place = j
        if bit(coder, buffer, model, tally, _REMEMBERED + (1 if i else 0), 1 if place >= 0 else 0):
            palette[i] = remembered[_tree(coder, buffer, model, tally, _WHICH + (16 if i else 0), 4, max(0, place))]
            continue
        palette[i] = _plain(coder, buffer, tally, 24, palette[i])
        if coder[KIND] != ESTIMATE:
            remembered[remembered[COLORS]] = palette[i]
            remembered[COLORS] = (remembered[COLORS] + 1) % COLORS
    return number


@compiled()
def _indices(coder, buffer, model, tally, palette, number, indices, top, start, canvas):
    """Like the pixel on the left? Like the one above? Else which? In contexts of which pixels near are alike."""
    height, width = canvas.shape
    group = 0 if number <= 4 else (1 if number <= 8 else 2)
    for i in range(32):
        for j in range(32):
            y, x = top + i, start + j
            if number == 1:
                indices[i, j] = 0
                canvas[y, x] = palette[0]
                continue
            left = canvas[y, x - 1] if x > 0 else -1
            up = canvas[y - 1, x] if y > 0 else -1
            left_up = canvas[y - 1, x - 1] if y > 0 and x > 0 else -1
            right_up = canvas[y - 1, x + 1] if y > 0 and x + 1 < width else -1
            far_right = canvas[y - 1, x + 2] if y > 0 and x + 2 < width else -1
            far_up = canvas[y - 2, x] if y > 1 else -1
            far_left = canvas[y, x - 2] if x > 1 else -1
            corner = canvas[y - 2, x + 1] if y > 1 and x + 1 < width else -1
            at_left, at_up = -1, -1
            for k in range(number):
                if palette[k] == left:
                    at_left = k
                if palette[k] == up:
                    at_up = k
            own = np.int64(indices[i, j])
            color, others, not_up = -1, number, -1
            if at_left >= 0:
                alike = (up == left) + 2 * (left_up == left) + 4 * (right_up == left) + 8 * (far_up == left)
                alike += 16 * (far_left == left) + 32 * (far_right == left) + 64 * (corner == left)
                alike += 128 * (left_up == up) + 256 * (number > 2)
                if bit(coder, buffer, model, tally, _LIKE_LEFT + alike, 1 if own == at_left else 0):
                    color = at_left
                others -= 1
            if color < 0 and others > 1 and at_up >= 0 and at_up != at_left:
                alike = (right_up == up) + 2 * (far_up == up) + 4 * (left_up == left) + 8 * (number > 2)
                if bit(coder, buffer, model, tally, _LIKE_UP + alike, 1 if own == at_up else 0):
                    color = at_up
                others, not_up = others - 1, at_up
            if color < 0 and others == 1:  # the only one that is left
                color = 0
                while color in (at_left, not_up):
                    color += 1
            if color < 0:
                color = min(_tree(coder, buffer, model, tally, _INDEX + 16 * group, 4, own), number - 1)
            indices[i, j] = color
            canvas[y, x] = palette[color]
