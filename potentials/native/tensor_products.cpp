// Sums of tensor products, over the edges of atoms or over the components of one atom, in float32 and float64.

#include "couplings.hpp"

namespace {

// An edge and its reverse have the same radial factors: those of their pair.
template <class T> struct Pairs {
    int64_t n_pairs;
    const int64_t *centre, *pair, *first; // of each edge, of each edge, of each pair
};

template <class T>
void edge_out(Edges<T> g, Pairs<T> pairs, const Coupling<T> &c,
              const T *radial, const T *left, const T *right, T *out) {
    const int channels = int(g.channels);
    in_parallel<T>(g.n_atoms, g.threads, c, [&](int64_t atom, Scratch<T> &scratch) {
        T *sum = out + atom * c.n_out * channels;
        std::fill(sum, sum + int64_t(c.n_out) * channels, T(0));
        for (int64_t edge = g.starts[atom]; edge < g.starts[atom + 1]; ++edge) {
            right_factors(c, right + edge * c.n_right, scratch.factors.data());
            const T *r = radial + pairs.pair[edge] * c.n_paths * channels;
            add_edge(c, r, left + g.neighbour[edge] * c.n_left * channels, channels, scratch, sum);
        }
    });
}

template <class T>
void edge_radial(Edges<T> g, Pairs<T> pairs, const Coupling<T> &c,
                 const T *out, const T *left, const T *right, T *radial) {
    const int channels = int(g.channels);
    in_parallel<T>(pairs.n_pairs, g.threads, c, [&](int64_t pair, Scratch<T> &scratch) {
        T *sum = radial + pair * c.n_paths * channels;
        std::fill(sum, sum + int64_t(c.n_paths) * channels, T(0));
        for (const int64_t edge : {pairs.first[pair], g.reverse[pairs.first[pair]]}) {
            right_factors(c, right + edge * c.n_right, scratch.factors.data());
            const T *o = out + pairs.centre[edge] * c.n_out * channels;
            pull_radial(c, o, left + g.neighbour[edge] * c.n_left * channels, channels, scratch, sum);
        }
    });
}

// Each atom collects from the edges in which it is the neighbour: the reverses of its own.
template <class T>
void edge_left(Edges<T> g, Pairs<T> pairs, const Coupling<T> &c,
               const T *out, const T *radial, const T *right, T *left) {
    const int channels = int(g.channels);
    in_parallel<T>(g.n_atoms, g.threads, c, [&](int64_t atom, Scratch<T> &scratch) {
        T *sum = left + atom * c.n_left * channels;
        std::fill(sum, sum + int64_t(c.n_left) * channels, T(0));
        for (int64_t own = g.starts[atom]; own < g.starts[atom + 1]; ++own) {
            right_factors(c, right + g.reverse[own] * c.n_right, scratch.factors.data());
            const T *r = radial + pairs.pair[own] * c.n_paths * channels;
            pull_left(c, out + g.neighbour[own] * c.n_out * channels, r, channels, scratch, sum);
        }
    });
}

template <class T>
void edge_right(Edges<T> g, Pairs<T> pairs, const Coupling<T> &c,
                const T *out, const T *radial, const T *left, T *right) {
    const int channels = int(g.channels);
    in_parallel<T>(g.n_atoms, g.threads, c, [&](int64_t atom, Scratch<T> &scratch) {
        const T *o = out + atom * c.n_out * channels;
        for (int64_t edge = g.starts[atom]; edge < g.starts[atom + 1]; ++edge) {
            const T *r = radial + pairs.pair[edge] * c.n_paths * channels;
            const T *l = left + g.neighbour[edge] * c.n_left * channels;
            pull_right(c, o, r, l, channels, scratch, right + edge * c.n_right);
        }
    });
}

// result[r[k]] = sum of value[k] one[a[k]] two[b[k]] (three[c[k]]) over the entries k of each r; `three` may be absent.
template <class T>
void atom_product(int64_t n_atoms, int channels, int threads, const int32_t *table, const double *value, const T *one,
                  const T *two, const T *three, T *result) {
    const int n_one = table[0], n_two = table[1], n_three = table[2], n_result = table[3];
    const int32_t *start = table + 4, *a = start + n_result + 1, *b = a + start[n_result], *c = b + start[n_result];
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t atom = 0; atom < n_atoms; ++atom) {
        const T *x = one + atom * n_one * channels, *y = two + atom * n_two * channels;
        const T *w = three ? three + atom * n_three * channels : nullptr;
        T *z = result + atom * n_result * channels;
        over_channels<T>(channels, [&](auto v, auto count, int first) {
            typedef decltype(v) V;
            constexpr int N = decltype(count)::value;
            for (int r = 0; r < n_result; ++r) {
                V sum[N] = {};
                for (int k = start[r]; k < start[r + 1]; ++k) {
                    const T factor = T(value[k]);
                    const T *p = x + int64_t(a[k]) * channels + first, *q = y + int64_t(b[k]) * channels + first;
                    const T *s = w ? w + int64_t(c[k]) * channels + first : nullptr;
                    for (int n = 0; n < N; ++n) {
                        V term = (factor * load<V>(p, n)) * load<V>(q, n);
                        sum[n] += s ? term * load<V>(s, n) : term;
                    }
                }
                for (int n = 0; n < N; ++n) store<V>(z + int64_t(r) * channels + first, n, sum[n]);
            }
        });
    }
}

} // namespace

#define EDGE(NAME, T, SUFFIX)                                                                                         \
    extern "C" void NAME##_##SUFFIX(int64_t n_atoms, int64_t n_pairs, int64_t channels, int threads,                  \
                                    const int32_t *table, const double *values, const int64_t *neighbour,             \
                                    const int64_t *centre, const int64_t *reverse, const int64_t *starts,             \
                                    const int64_t *pair, const int64_t *first, const T *one, const T *two,            \
                                    const T *three, T *result) {                                                      \
        NAME(Edges<T>{n_atoms, channels, neighbour, reverse, starts, threads},                                        \
             Pairs<T>{n_pairs, centre, pair, first}, Coupling<T>(table, values), one, two, three, result);            \
    }
#define BOTH(T, SUFFIX)                                                                                               \
    EDGE(edge_out, T, SUFFIX)                                                                                         \
    EDGE(edge_radial, T, SUFFIX)                                                                                      \
    EDGE(edge_left, T, SUFFIX)                                                                                        \
    EDGE(edge_right, T, SUFFIX)                                                                                       \
    extern "C" void atom_product_##SUFFIX(int64_t n_atoms, int64_t channels, int threads, const int32_t *table,       \
                                          const double *values, const T *one, const T *two, const T *three,           \
                                          T *result) {                                                                \
        atom_product(n_atoms, int(channels), threads, table, values, one, two, three, result);                        \
    }
BOTH(float, float32)
BOTH(double, float64)
