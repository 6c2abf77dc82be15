// Sums of tensor products, over the edges of atoms or over the components of one atom, in float32 and float64.
//
// A coupling is a sparse table of numbers cg[k] that couples component a[k] of the left factor with component b[k] of the
// right one to component o[k] of the result. It is stored twice: as pairs (q, o), with q a pair of path and left component
// and with the entries of each pair behind it, in the order of o and in that of q; `potentials/native/tables.py` makes it.
//
// All loops over channels run over registers: `Lanes` is one register's worth of numbers, and N of them are one block.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

template <class T> struct Wide;
template <> struct Wide<float> { typedef float Lanes __attribute__((vector_size(64))); };
template <> struct Wide<double> { typedef double Lanes __attribute__((vector_size(64))); };

struct Coupling {
    int n_left, n_right, n_out, n_paths, n_q, n_pairs;
    const int32_t *q_path, *q_left;           // of each q, ascending by path
    const int32_t *out_start, *pair_q, *pair_out; // pairs, ascending by o: those of o begin at out_start[o]
    const int32_t *q_start, *q_pairs;         // numbers of pairs, ascending by q
    const int32_t *entry_start, *entry_right; // entries of each pair
    const double *value;

    Coupling(const int32_t *n, const double *values) : value(values) {
        n_left = n[0], n_right = n[1], n_out = n[2], n_paths = n[3], n_q = n[4], n_pairs = n[5];
        const int32_t *next = n + 6;
        auto take = [&next](int count) { const int32_t *here = next; next += count; return here; };
        q_path = take(n_q), q_left = take(n_q);
        out_start = take(n_out + 1), pair_q = take(n_pairs), pair_out = take(n_pairs);
        q_start = take(n_q + 1), q_pairs = take(n_pairs);
        entry_start = take(n_pairs + 1), entry_right = next;
    }
};

template <class T> struct Scratch {
    std::vector<T> factors, products; // [pairs], [q, block]
    Scratch(const Coupling &c) : factors(c.n_pairs), products(c.n_q * 64) {}
};

// factors[pair] = sum of cg times the right component over the entries of the pair
template <class T> inline void right_factors(const Coupling &c, const T *right, T *factors) {
    for (int pair = 0; pair < c.n_pairs; ++pair) {
        T sum = 0;
        for (int k = c.entry_start[pair]; k < c.entry_start[pair + 1]; ++k) sum += T(c.value[k]) * right[c.entry_right[k]];
        factors[pair] = sum;
    }
}

// Calls body(V{}, integral N, first channel) over all channels: blocks of 4, 2, 1 registers, then single numbers.
template <int N> struct Count { static constexpr int value = N; };
template <class T, class Body> inline void over_channels(int channels, Body body) {
    typedef typename Wide<T>::Lanes Lanes;
    constexpr int lanes = sizeof(Lanes) / sizeof(T);
    int first = 0;
    for (; first + 4 * lanes <= channels; first += 4 * lanes) body(Lanes{}, Count<4>{}, first);
    for (; first + 2 * lanes <= channels; first += 2 * lanes) body(Lanes{}, Count<2>{}, first);
    for (; first + lanes <= channels; first += lanes) body(Lanes{}, Count<1>{}, first);
    for (; first < channels; ++first) body(T{}, Count<1>{}, first);
}

// The n-th register of numbers at a pointer, which need not be aligned.
template <class V, class T> inline V load(const T *pointer, int n = 0) {
    V value;
    std::memcpy(&value, pointer + n * int(sizeof(V) / sizeof(T)), sizeof(V));
    return value;
}
template <class V, class T> inline void store(T *pointer, int n, const V &value) {
    std::memcpy(pointer + n * int(sizeof(V) / sizeof(T)), &value, sizeof(V));
}

// products[q] = radial[path of q] * left[left of q]
template <class V, int N, class T>
inline void left_products(const Coupling &c, const T *radial, const T *left, int channels, T *products) {
    constexpr int block = N * sizeof(V) / sizeof(T);
    for (int q = 0; q < c.n_q; ++q) {
        const T *r = radial + int64_t(c.q_path[q]) * channels, *l = left + int64_t(c.q_left[q]) * channels;
        for (int n = 0; n < N; ++n) store<V>(products + q * block, n, load<V>(r, n) * load<V>(l, n));
    }
}

// sums[n] = sum over the pairs of q of factor times result component
template <class V, int N, class T>
inline void pulled_back(const Coupling &c, int q, const T *factors, const T *out, int channels, V *sums) {
    for (int n = 0; n < N; ++n) sums[n] = V{};
    for (int k = c.q_start[q]; k < c.q_start[q + 1]; ++k) {
        const int pair = c.q_pairs[k];
        const T factor = factors[pair];
        const T *o = out + int64_t(c.pair_out[pair]) * channels;
        for (int n = 0; n < N; ++n) sums[n] += factor * load<V>(o, n);
    }
}

inline float total(float v) { return v; }
inline double total(double v) { return v; }
template <class V> inline auto total(const V &v) -> decltype(v[0] + v[0]) {
    auto sum = v[0];
    for (unsigned i = 1; i < sizeof(V) / sizeof(v[0]); ++i) sum += v[i];
    return sum;
}

template <class T> struct Edges {
    int64_t n_atoms, n_edges, channels;
    const int64_t *neighbour, *reverse, *starts;
    int threads;
};

template <class T>
void edge_out(Edges<T> g, Coupling c, const T *radial, const T *left, const T *right, T *out) {
    const int channels = int(g.channels);
#pragma omp parallel num_threads(g.threads)
    {
        Scratch<T> scratch(c);
#pragma omp for schedule(dynamic, 4)
        for (int64_t atom = 0; atom < g.n_atoms; ++atom) {
            T *sum = out + atom * c.n_out * channels;
            std::fill(sum, sum + int64_t(c.n_out) * channels, T(0));
            for (int64_t edge = g.starts[atom]; edge < g.starts[atom + 1]; ++edge) {
                right_factors(c, right + edge * c.n_right, scratch.factors.data());
                const T *r = radial + edge * c.n_paths * channels, *l = left + g.neighbour[edge] * c.n_left * channels;
                over_channels<T>(channels, [&](auto v, auto count, int first) {
                    typedef decltype(v) V;
                    constexpr int N = decltype(count)::value, block = N * sizeof(V) / sizeof(T);
                    T *products = scratch.products.data();
                    left_products<V, N>(c, r + first, l + first, channels, products);
                    for (int o = 0; o < c.n_out; ++o) {
                        T *target = sum + int64_t(o) * channels + first;
                        V here[N];
                        for (int n = 0; n < N; ++n) here[n] = load<V>(target, n);
                        for (int pair = c.out_start[o]; pair < c.out_start[o + 1]; ++pair) {
                            const T factor = scratch.factors[pair];
                            const T *product = products + c.pair_q[pair] * block;
                            for (int n = 0; n < N; ++n) here[n] += factor * load<V>(product, n);
                        }
                        for (int n = 0; n < N; ++n) store<V>(target, n, here[n]);
                    }
                });
            }
        }
    }
}

template <class T>
void edge_radial(Edges<T> g, Coupling c, const T *out, const T *left, const T *right, T *radial) {
    const int channels = int(g.channels);
#pragma omp parallel num_threads(g.threads)
    {
        Scratch<T> scratch(c);
#pragma omp for schedule(dynamic, 4)
        for (int64_t atom = 0; atom < g.n_atoms; ++atom) {
            const T *o = out + atom * c.n_out * channels;
            for (int64_t edge = g.starts[atom]; edge < g.starts[atom + 1]; ++edge) {
                right_factors(c, right + edge * c.n_right, scratch.factors.data());
                T *r = radial + edge * c.n_paths * channels;
                const T *l = left + g.neighbour[edge] * c.n_left * channels;
                over_channels<T>(channels, [&](auto v, auto count, int first) {
                    typedef decltype(v) V;
                    constexpr int N = decltype(count)::value;
                    for (int q = 0; q < c.n_q;) {
                        const int path = c.q_path[q];
                        V sum[N] = {}, pulled[N];
                        for (; q < c.n_q && c.q_path[q] == path; ++q) {
                            pulled_back<V, N>(c, q, scratch.factors.data(), o + first, channels, pulled);
                            const T *component = l + int64_t(c.q_left[q]) * channels + first;
                            for (int n = 0; n < N; ++n) sum[n] += pulled[n] * load<V>(component, n);
                        }
                        for (int n = 0; n < N; ++n) store<V>(r + int64_t(path) * channels + first, n, sum[n]);
                    }
                });
            }
        }
    }
}

// Each atom collects from the edges in which it is the neighbour: the reverses of its own.
template <class T>
void edge_left(Edges<T> g, Coupling c, const T *out, const T *radial, const T *right, T *left) {
    const int channels = int(g.channels);
#pragma omp parallel num_threads(g.threads)
    {
        Scratch<T> scratch(c);
#pragma omp for schedule(dynamic, 4)
        for (int64_t atom = 0; atom < g.n_atoms; ++atom) {
            T *sum = left + atom * c.n_left * channels;
            std::fill(sum, sum + int64_t(c.n_left) * channels, T(0));
            for (int64_t own = g.starts[atom]; own < g.starts[atom + 1]; ++own) {
                const int64_t edge = g.reverse[own];
                right_factors(c, right + edge * c.n_right, scratch.factors.data());
                const T *r = radial + edge * c.n_paths * channels, *o = out + g.neighbour[own] * c.n_out * channels;
                over_channels<T>(channels, [&](auto v, auto count, int first) {
                    typedef decltype(v) V;
                    constexpr int N = decltype(count)::value;
                    V pulled[N];
                    for (int q = 0; q < c.n_q; ++q) {
                        pulled_back<V, N>(c, q, scratch.factors.data(), o + first, channels, pulled);
                        const T *weight = r + int64_t(c.q_path[q]) * channels + first;
                        T *target = sum + int64_t(c.q_left[q]) * channels + first;
                        for (int n = 0; n < N; ++n) store<V>(target, n, load<V>(target, n) + pulled[n] * load<V>(weight, n));
                    }
                });
            }
        }
    }
}

template <class T>
void edge_right(Edges<T> g, Coupling c, const T *out, const T *radial, const T *left, T *right) {
    const int channels = int(g.channels);
#pragma omp parallel num_threads(g.threads)
    {
        Scratch<T> scratch(c);
#pragma omp for schedule(dynamic, 4)
        for (int64_t atom = 0; atom < g.n_atoms; ++atom) {
            const T *o = out + atom * c.n_out * channels;
            for (int64_t edge = g.starts[atom]; edge < g.starts[atom + 1]; ++edge) {
                const T *r = radial + edge * c.n_paths * channels, *l = left + g.neighbour[edge] * c.n_left * channels;
                T *dots = scratch.factors.data(), *target = right + edge * c.n_right;
                std::fill(dots, dots + c.n_pairs, T(0));
                over_channels<T>(channels, [&](auto v, auto count, int first) {
                    typedef decltype(v) V;
                    constexpr int N = decltype(count)::value, block = N * sizeof(V) / sizeof(T);
                    T *products = scratch.products.data();
                    left_products<V, N>(c, r + first, l + first, channels, products);
                    for (int pair = 0; pair < c.n_pairs; ++pair) {
                        const T *product = products + c.pair_q[pair] * block;
                        const T *component = o + int64_t(c.pair_out[pair]) * channels + first;
                        V sum = load<V>(product) * load<V>(component);
                        for (int n = 1; n < N; ++n) sum += load<V>(product, n) * load<V>(component, n);
                        dots[pair] += total(sum);
                    }
                });
                std::fill(target, target + c.n_right, T(0));
                for (int pair = 0; pair < c.n_pairs; ++pair)
                    for (int k = c.entry_start[pair]; k < c.entry_start[pair + 1]; ++k)
                        target[c.entry_right[k]] += T(c.value[k]) * dots[pair];
            }
        }
    }
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
    extern "C" void NAME##_##SUFFIX(int64_t n_atoms, int64_t n_edges, int64_t channels, int threads,                  \
                                    const int32_t *table, const double *values, const int64_t *neighbour,             \
                                    const int64_t *reverse, const int64_t *starts, const T *one, const T *two,        \
                                    const T *three, T *result) {                                                      \
        NAME(Edges<T>{n_atoms, n_edges, channels, neighbour, reverse, starts, threads}, Coupling(table, values), one, \
             two, three, result);                                                                                     \
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
