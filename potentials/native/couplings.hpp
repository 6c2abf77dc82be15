// What all kernels share: couplings as tables, and loops over channels that run over registers.
//
// A coupling is a sparse table of numbers cg[k] that couples component a[k] of the left factor with component b[k] of the
// right one to component o[k] of the result. It is stored twice: as pairs (q, o), with q a pair of path and left component
// and with the entries of each pair behind it, in the order of o and in that of q; `potentials/native/tables.py` makes it.
//
// `Lanes` is one register's worth of channels, and N of them are one block.

#pragma once

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

// What one edge adds to the sum of its centre; the right factors lie in `scratch`.
template <class T>
inline void add_edge(const Coupling &c, const T *radial, const T *left, int channels, Scratch<T> &scratch, T *sum) {
    over_channels<T>(channels, [&](auto v, auto count, int first) {
        typedef decltype(v) V;
        constexpr int N = decltype(count)::value, block = N * sizeof(V) / sizeof(T);
        T *products = scratch.products.data();
        left_products<V, N>(c, radial + first, left + first, channels, products);
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

// Calls take(V{}, count, first, path, sums) with the derivative to the radial factors of each path.
template <class T, class Take>
inline void each_radial(const Coupling &c, const T *out, const T *left, int channels, const T *factors, Take take) {
    over_channels<T>(channels, [&](auto v, auto count, int first) {
        typedef decltype(v) V;
        constexpr int N = decltype(count)::value;
        for (int q = 0; q < c.n_q;) {
            const int path = c.q_path[q];
            V sum[N] = {}, pulled[N];
            for (; q < c.n_q && c.q_path[q] == path; ++q) {
                pulled_back<V, N>(c, q, factors, out + first, channels, pulled);
                const T *component = left + int64_t(c.q_left[q]) * channels + first;
                for (int n = 0; n < N; ++n) sum[n] += pulled[n] * load<V>(component, n);
            }
            take(v, count, int64_t(path) * channels + first, sum);
        }
    });
}

// Derivative to the radial factors; the right factors lie in `scratch`.
template <class T>
inline void pull_radial(const Coupling &c, const T *out, const T *left, int channels, Scratch<T> &scratch, T *radial) {
    each_radial(c, out, left, channels, scratch.factors.data(), [&](auto v, auto count, int64_t at, auto sum) {
        for (int n = 0; n < decltype(count)::value; ++n) store<decltype(v)>(radial + at, n, sum[n]);
    });
}

// The same, times given slopes of the radial factors, summed.
template <class T>
inline T along_radial(const Coupling &c, const T *out, const T *left, const T *slope, int channels, Scratch<T> &scratch) {
    T result = 0;
    each_radial(c, out, left, channels, scratch.factors.data(), [&](auto v, auto count, int64_t at, auto sum) {
        typedef decltype(v) V;
        V product = sum[0] * load<V>(slope + at);
        for (int n = 1; n < decltype(count)::value; ++n) product += sum[n] * load<V>(slope + at, n);
        result += total(product);
    });
    return result;
}

// Derivative to the left factor of one edge, added to `sum`; the right factors lie in `scratch`.
template <class T>
inline void pull_left(const Coupling &c, const T *out, const T *radial, int channels, Scratch<T> &scratch, T *sum) {
    over_channels<T>(channels, [&](auto v, auto count, int first) {
        typedef decltype(v) V;
        constexpr int N = decltype(count)::value;
        V pulled[N];
        for (int q = 0; q < c.n_q; ++q) {
            pulled_back<V, N>(c, q, scratch.factors.data(), out + first, channels, pulled);
            const T *weight = radial + int64_t(c.q_path[q]) * channels + first;
            T *target = sum + int64_t(c.q_left[q]) * channels + first;
            for (int n = 0; n < N; ++n) store<V>(target, n, load<V>(target, n) + pulled[n] * load<V>(weight, n));
        }
    });
}

// Derivative to the right factor of one edge; spends the right factors in `scratch`.
template <class T>
inline void pull_right(const Coupling &c, const T *out, const T *radial, const T *left, int channels,
                       Scratch<T> &scratch, T *right) {
    T *dots = scratch.factors.data();
    std::fill(dots, dots + c.n_pairs, T(0));
    over_channels<T>(channels, [&](auto v, auto count, int first) {
        typedef decltype(v) V;
        constexpr int N = decltype(count)::value, block = N * sizeof(V) / sizeof(T);
        T *products = scratch.products.data();
        left_products<V, N>(c, radial + first, left + first, channels, products);
        for (int pair = 0; pair < c.n_pairs; ++pair) {
            const T *product = products + c.pair_q[pair] * block;
            const T *component = out + int64_t(c.pair_out[pair]) * channels + first;
            V sum = load<V>(product) * load<V>(component);
            for (int n = 1; n < N; ++n) sum += load<V>(product, n) * load<V>(component, n);
            dots[pair] += total(sum);
        }
    });
    std::fill(right, right + c.n_right, T(0));
    for (int pair = 0; pair < c.n_pairs; ++pair)
        for (int k = c.entry_start[pair]; k < c.entry_start[pair + 1]; ++k)
            right[c.entry_right[k]] += T(c.value[k]) * dots[pair];
}

template <class T> struct Edges {
    int64_t n_atoms, n_edges, channels;
    const int64_t *neighbour, *reverse, *starts;
    int threads;
};

} // namespace
