"""Kernels of normalize and of all-pairs similarities and distances."""

from __future__ import annotations

import numpy as np

from vjaccel_numpy.jit import kernel, summing_kernel

STEP = 64
"""Values that are looked at together."""

__all__ = [
    "cosines_of_one",
    "finish_cosines",
    "finish_squares",
    "inverse_norms",
    "manhattan",
    "normalize_rows",
    "products_of_one",
    "squared_norms",
]


@summing_kernel
def squared_norm(row):
    total = 0.0
    for j in range(row.shape[0]):
        x = np.float64(row[j])
        total += x * x
    return total


@summing_kernel
def squared_distance(a, b):
    total = 0.0
    for j in range(a.shape[0]):
        x = np.float64(a[j]) - np.float64(b[j])
        total += x * x
    return total


@kernel
def scaled_norm(row):
    """The norm of `row` whatever its magnitude: scaled by its largest where the squares leave float64."""
    square = squared_norm(row)
    if 1e-280 < square < 1e280:
        return np.sqrt(square)
    reach = 0.0
    for j in range(row.shape[0]):
        reach = max(reach, abs(np.float64(row[j])))
    if reach == 0.0 or not np.isfinite(reach):
        return np.sqrt(square)
    total = 0.0
    for j in range(row.shape[0]):
        x = np.float64(row[j]) / reach
        total += x * x
    return reach * np.sqrt(total)


@kernel
def normalize_rows(rows, out):
    for i in range(rows.shape[0]):
        norm = scaled_norm(rows[i])
        if norm == 0.0:
            norm = 1.0
        if 1e-30 < norm < 1e30:
            factor = rows.dtype.type(1.0 / norm)
            for j in range(rows.shape[1]):
                out[i, j] = rows[i, j] * factor
        else:
            for j in range(rows.shape[1]):
                out[i, j] = rows.dtype.type(np.float64(rows[i, j]) / norm)


@kernel
def inverse_norms(rows, out):
    """One over each row's norm, 0 for a zero row; whether all lie where float32 products of the rows stay in range."""
    safe = True
    for i in range(rows.shape[0]):
        norm = scaled_norm(rows[i])
        out[i] = 1.0 / norm if norm > 0.0 else norm
        safe = safe and (norm == 0.0 or 1e-15 < norm < 1e15)
    return safe


@kernel
def cosines_of_one(query, inverse, rows, out):
    """`finish_cosines` of one query, whose inverse norm is `inverse`, in one pass over the rows; False as `inverse_norms`."""
    one, safe = rows.dtype.type(1), True
    for i in range(rows.shape[0]):
        product, square = product_and_square(query, rows, i)
        norm = np.sqrt(np.float64(square)) if 1e-30 < square < 1e30 else scaled_norm(rows[i])
        safe = safe and (norm == 0.0 or 1e-15 < norm < 1e15)
        factor = rows.dtype.type(inverse * (1.0 / norm if norm > 0.0 else norm))
        out[i] = min(max(product * factor, -one), one)
    return safe


@kernel
def products_of_one(query, rows, out):
    """The product with each row; whether all are finite."""
    finite = True
    for i in range(rows.shape[0]):
        out[i] = product(query, rows[i])
        finite = finite and np.isfinite(out[i])
    return finite


@summing_kernel
def product(a, b):
    total = a.dtype.type(0)
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@summing_kernel
def product_and_square(query, rows, i):
    product = square = rows.dtype.type(0)
    for j in range(rows.shape[1]):
        x = rows[i, j]
        product += query[j] * x
        square += x * x
    return product, square


@kernel
def squared_norms(rows, out):
    for i in range(rows.shape[0]):
        out[i] = squared_norm(rows[i])


@kernel
def finish_cosines(products, left, right):
    """Dot products into cosines, in place, by the inverse norms of the left and the right rows."""
    one = products.dtype.type(1)
    for i in range(products.shape[0]):
        factor = products.dtype.type(left[i])
        for j in range(products.shape[1]):
            products[i, j] = min(max(products[i, j] * (factor * right[j]), -one), one)


@kernel
def finish_squares(products, a, b, left, right, root, cancels):
    """Dot products of centered rows into distances, in place; what cancels too much is taken from the rows themselves.

    Parameters
    ----------
    products : (n, m); a, b : the rows before centering
    left, right : (n,), (m,), squared norms of the centered rows
    root : bool, whether distances or their squares are wanted
    cancels : the share of the squared norms below which a squared distance is not trusted
    """
    columns = products.shape[1]
    for i in range(products.shape[0]):
        for start in range(0, columns, STEP):
            many = min(STEP, columns - start)
            if finish_some(products, i, np.uint64(start), np.uint64(many), left[i], right, root, cancels):
                for j in range(start, start + many):
                    if doubtful(products[i, j], left[i] + right[j], root, cancels):
                        products[i, j] = direct_square(a[i], b[j], products.dtype.type(0), root)


@kernel
def finish_some(products, i, start, many, left, right, root, cancels):
    """`finish_squares` for `many` products of row `i`, but for what cancels: whether there is any.

    An "or" of comparisons vectorises as it stands, and unsigned numbers need no check for counting from the end.
    """
    zero, two = products.dtype.type(0), products.dtype.type(2)
    share, small, large = products.dtype.type(cancels), products.dtype.type(1e-30), products.dtype.type(1e30)
    hit = False
    if root:
        for j in range(many):
            total = left + right[start + j]
            square = total - two * products[i, start + j]
            hit |= (square < share * total) | (total <= small) | (total >= large)
            products[i, start + j] = np.sqrt(zero if square < zero else square)
    else:
        for j in range(many):
            total = left + right[start + j]
            square = total - two * products[i, start + j]
            hit |= (square < share * total) | (total <= small) | (total >= large)
            products[i, start + j] = square
    return hit


@kernel
def doubtful(value, total, root, cancels):
    """Whether a distance, or its square, lost too many digits; a little more than `finish_some` calls so."""
    square = value * value if root else value
    return not (square >= 1.001 * cancels * total and 1e-30 < total < 1e30)


@kernel
def direct_square(a, b, zero, root):
    square = squared_distance(a, b)
    if root and not 1e-280 < square < 1e280:
        difference = np.empty(a.shape[0])
        for j in range(a.shape[0]):
            difference[j] = np.float64(a[j]) - np.float64(b[j])
        return type(zero)(scaled_norm(difference))
    return type(zero)(np.sqrt(square) if root else square)


@summing_kernel
def absolute_distances(a, i, row):
    """From four rows of `a` to `row`, which is read once."""
    s = t = u = v = row.dtype.type(0)
    for j in range(row.shape[0]):
        x = row[j]
        s += abs(a[i, j] - x)
        t += abs(a[i + 1, j] - x)
        u += abs(a[i + 2, j] - x)
        v += abs(a[i + 3, j] - x)
    return s, t, u, v


@summing_kernel
def absolute_distance(a, b):
    total = b.dtype.type(0)
    for j in range(b.shape[0]):
        total += abs(a[j] - b[j])
    return total


@kernel
def manhattan(a, b, out):
    """All pairs; blocks of `b` stay in the cache while the rows of `a` go by."""
    n, m = out.shape
    whole = n // 4 * 4
    for start in range(0, m, 32):
        end = min(start + 32, m)
        for i in range(0, whole, 4):
            for j in range(start, end):
                out[i, j], out[i + 1, j], out[i + 2, j], out[i + 3, j] = absolute_distances(a, i, b[j])
        for i in range(whole, n):
            for j in range(start, end):
                out[i, j] = absolute_distance(a[i], b[j])
