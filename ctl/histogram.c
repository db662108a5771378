#include "ctl/histogram.h"

static unsigned bucket_of(uint64_t value)
{
    if (value < 1U << HISTOGRAM_SUB_BITS)
        return (unsigned)value;
    unsigned shift = 63U - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return ((shift + 1) << HISTOGRAM_SUB_BITS) + (unsigned)(value >> shift) - (1U << HISTOGRAM_SUB_BITS);
}

static uint64_t bucket_top(unsigned bucket)
{
    unsigned row = bucket >> HISTOGRAM_SUB_BITS;
    if (row == 0)
        return bucket;
    unsigned shift = row - 1;
    uint64_t base = (bucket & ((1U << HISTOGRAM_SUB_BITS) - 1)) + (UINT64_C(1) << HISTOGRAM_SUB_BITS);
    return (base << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->counts[bucket_of(value)]++;
    if (h->n++ == 0 || value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
    if (h->n == 0)
        return 0;
    double exact = percent / 100.0 * (double)h->n;
    uint64_t wanted = (uint64_t)exact;
    if ((double)wanted < exact || wanted == 0)
        wanted++;
    uint64_t seen = 0;
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
        seen += h->counts[b];
        if (seen >= wanted) {
            uint64_t top = bucket_top(b);
            return top < h->max ? top : h->max;
        }
    }
    return h->max;
}
