/* A histogram of durations, in the manner of HdrHistogram: buckets of equal relative width, so every percentile is
 * right to within 1/64 at any scale, in a fixed block of memory. Pure. Source: Tene's HdrHistogram, reduced to one
 * precision. */
#ifndef CTL_HISTOGRAM_H
#define CTL_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 6, /* 64 buckets for each power of two */
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS,
};

struct histogram {
    uint64_t n;
    uint64_t max, min; /* exact; min is 0 while n is 0 */
    uint64_t counts[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t value);
/* The smallest value that at least `percent` (0 to 100) of all are not above; the upper end of its bucket, never above
 * max; 0 while empty. */
uint64_t histogram_percentile(const struct histogram *h, double percent);

#endif
