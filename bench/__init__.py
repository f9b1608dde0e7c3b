"""What nankeen is measured by: `./nk bench`.

Each row is one file, named for it. A row measures nankeen and what it is held against in the same run, in turn, round
by round; what counts is the ratio of the medians. Absolute numbers stand beside it and are never asserted: they are the
machine's.
"""

from bench import (
    acquire,
    capture,
    churn,
    cpu,
    decisions,
    forward,
    latency,
    p1,
    p2,
    p3,
    p4,
    p5,
    p6,
    p7,
    p8,
    p9,
    p11,
    p12,
    soak,
)
from bench.predict import row as predict
from bench.row import Row

ROWS: tuple[Row, ...] = (
    *p1.ROWS,
    *p2.ROWS,
    *p3.ROWS,
    *p4.ROWS,
    *p5.ROWS,
    *p6.ROWS,
    *p7.ROWS,
    *p8.ROWS,
    *p9.ROWS,
    *p11.ROWS,
    *p12.ROWS,
    *latency.ROWS,
    *cpu.ROWS,
    *soak.ROWS,
    *churn.ROWS,
    *decisions.ROWS,
    *acquire.ROWS,
    *capture.ROWS,
    *forward.ROWS,
    *predict.ROWS,
)
